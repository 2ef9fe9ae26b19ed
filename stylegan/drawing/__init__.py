"""Drawing with a finished generator: images, curves between latents, class centers, style files, videos."""
