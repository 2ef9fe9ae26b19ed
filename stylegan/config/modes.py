"""What Pillow calls an image of so many channels. Two are grey with alpha, as in every image file that has two."""

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
CHANNELS = {mode: channels for channels, mode in MODES.items()}
