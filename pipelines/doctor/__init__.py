"""`stylegan doctor`: what a machine needs for this project, each thing tried for real, with how to mend it."""
