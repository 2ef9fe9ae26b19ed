"""What is found out about networks and images: contributions by resolution, peaks, projection, detection."""
