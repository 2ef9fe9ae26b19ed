"""Damage to the boxes of HEIF and AVIF (ISO 14496-12): sizes, types, places of data, and numbers such as the sides."""

import random
import struct

from benchmarks.hostile.mutations import corrupt

Box = tuple[bytes, bytes]  # type and content
HOLDERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"iinf": 6, b"dinf": 0}  # bytes before the boxes that they hold
TYPES = (b"ispe", b"iloc", b"grid", b"iovl", b"iden", b"hvcC", b"av01", b"clap", b"irot", b"auxC", b"free", b"moov")
NUMBERS = (0, 1, 2, 15, 255, 4097, 20_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1)


def is_family(content: bytes) -> bool:
    return content[4:8] == b"ftyp" and sum(8 + len(inner) for _, inner in boxes_of(content)) == len(content)


def boxes_of(content: bytes) -> list[Box]:
    """Boxes one after the other, up to the first that does not fit"""
    found, at = [], 0
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        if not 8 <= size <= len(content) - at:
            break
        found.append((content[at + 4 : at + 8], content[at + 8 : at + size]))
        at += size
    return found


def written(boxes: list[Box]) -> bytes:
    return b"".join(struct.pack(">I", 8 + len(inner)) + kind + inner for kind, inner in boxes)


def mutate_boxes(content: bytes, rng: random.Random) -> bytes:
    """A box somewhere changed, lost, repeated or put into itself; the sizes around it mostly fit"""
    boxes = boxes_of(content)
    row = rng.randrange(len(boxes))
    kind, inner = boxes[row]
    start = HOLDERS.get(kind)
    if start is not None and boxes_of(inner[start:]) and rng.random() < 0.9:
        boxes[row] = (kind, inner[:start] + mutate_boxes(inner[start:], rng))
        return written(boxes)
    how = rng.randrange(8)
    if how < 3 and len(inner) >= 4:
        at = rng.randrange(0, len(inner) - 3)
        width = rng.choice([1, 2, 4])
        number = rng.choice(NUMBERS) & (256**width - 1)
        boxes[row] = (kind, inner[:at] + number.to_bytes(width, "big") + inner[at + width :])
    elif how == 3:
        boxes[row] = (kind, corrupt(inner, rng))
    elif how == 4:
        boxes[row] = (rng.choice(TYPES), inner)
    elif how == 5:
        boxes[row : row + 1] = [boxes[row]] * rng.choice([0, 2, 300])
    elif how == 6:
        for _ in range(rng.choice([3, 300])):
            inner = struct.pack(">I", 8 + len(inner)) + kind + inner
        boxes[row] = (kind, inner)
    else:
        made = bytearray(written(boxes))
        at = len(written(boxes[:row]))
        made[at : at + 4] = struct.pack(">I", rng.choice([*NUMBERS, len(inner), len(inner) + 9]))
        return bytes(made)
    return written(boxes)
