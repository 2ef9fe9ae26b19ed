"""How many images of fixed seeds a snapshot has: a grid that a screen can show, and disks can hold by the hundred."""

from stylegan.config.pyramid import Resolution, sides

COLUMNS = 8
LONGEST = 3072  # pixels of the grid


def num_columns(resolution: Resolution) -> int:
    """Images side by side: 8 up to 384 pixels, 6 of 512, 3 of 1024"""
    return max(1, min(COLUMNS, LONGEST // max(sides(resolution))))


def num_samples(resolution: Resolution) -> int:
    """Images of a snapshot: as many rows as columns"""
    return num_columns(resolution) ** 2
