"""An archive of any number of images that takes seconds to write: all its entries are the same picture."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

# As in the directory of a zip (APPNOTE 4.3.12), for names of 21 letters and no extra field.
RECORD = np.dtype(
    [
        ("signature", "S4"), ("versions", "<u4"), ("flags", "<u2"), ("method", "<u2"), ("time", "<u4"), ("crc", "<u4"),
        ("packed", "<u4"), ("unpacked", "<u4"), ("name_length", "<u2"), ("between", "V12"), ("header", "<u4"),
        ("name", "S21"),
    ]
)  # fmt: skip


def write_wide_archive(path: Path, count: int, num_classes: int) -> None:
    """A zip64 of `count` names in order, each with a class, every twentieth held out."""
    names = [f"{number // 1000:05d}/img{number:08d}.png" for number in range(count)]
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "png")
    labels = [[name, number % num_classes] for number, name in enumerate(names)]
    facts = json.dumps({"labels": labels, "class_names": None, "holdout": names[::20]}).encode()
    picture = buffer.getvalue()
    with path.open("wb") as file:
        file.write(_local("00000/img00000000.png", picture) + picture)
        facts_at = file.tell()
        file.write(_local("dataset.json", facts) + facts)
        start = file.tell()
        records = np.zeros(count, RECORD)
        records["signature"], records["crc"], records["name_length"] = b"PK\1\2", zlib.crc32(picture), 21
        records["packed"] = records["unpacked"] = len(picture)
        records["name"] = names
        file.write(records.tobytes())
        sizes = (zlib.crc32(facts), len(facts), len(facts), 12, 0, 0, 0, 0, 0, facts_at)
        file.write(struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, *sizes) + b"dataset.json")
        end = file.tell()
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count + 1, count + 1, end - start, start))
        file.write(struct.pack("<4sLQL", b"PK\6\7", 0, end, 1))
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))


def _local(name: str, content: bytes) -> bytes:
    sizes = (zlib.crc32(content), len(content), len(content), len(name), 0)
    return struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0, *sizes) + name.encode()
