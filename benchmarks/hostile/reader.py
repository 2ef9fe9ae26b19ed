"""What a reader is to the campaign: valid files, a way to read them, and a way to use what was read."""

import os
import random
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.hostile.mutations import mutate

Special: TypeAlias = tuple[str, str]  # ("fifo", ""), ("folder", ""), ("socket", ""), ("link", target)
Files: TypeAlias = Mapping[str, bytes | Special]  # by their paths; a name that is not UTF-8 has surrogates
SPECIALS: tuple[bytes | Special | None, ...] = (
    None, b"", ("fifo", ""), ("folder", ""), ("link", "nowhere"), ("link", "."), ("socket", ""), ("link", "/dev/zero"),
)  # fmt: skip
STRANGE_NAMES = (
    "bad\udcff.png", "new\nline.png", "\x1b[31mred.png", "x" * 250 + ".png", "e\u0301.png", "é.png", ".hidden.png",
    "a.PNG",
    "dataset.json.png", "sub/dataset.json", " .png", "-rf.png", "a\\b.png", "con.png", "a.eps", "a.svg", "a.npy",
    "[bold]a.png",
    "sub/sub/sub/deep.png", "Thumbs.db", "%s.png", "$(touch executed).png", "a.tif", "a.gif", "a.heic", "a.webp",
    "a.jpg",
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """One way in for files."""

    name: str
    group: str  # a row of the table in docs/reliability.md
    files: Files
    read: Callable[[Path], Any]  # from the folder that they are in
    use: Callable[[Any], object]
    damage: Callable[[Files, random.Random], Files] | None = None  # None: that of one file
    is_lazy: bool = False  # refuses what it finds when it is used, as a set of millions of images has to
    tells_all: bool = False  # lists every problem, one a line

    def input(self, seed: int, number: int) -> Files:
        """The files of one input: the same for the same seed and number"""
        rng = random.Random(f"{seed}/{self.name}/{number}")
        return (self.damage or damage_one)(self.files, rng)


def damage_one(files: Files, rng: random.Random) -> Files:
    """One file damaged, or something else in its place"""
    name = rng.choice(sorted(files))
    content = files[name]
    if rng.random() < 0.03 or not isinstance(content, bytes):
        special = rng.choice(SPECIALS)
        return {key: value for key, value in files.items() if key != name} | (
            {} if special is None else {name: special}
        )
    return {**files, name: mutate(content, rng)}


def damage_folder(files: Files, rng: random.Random) -> Files:
    """A file damaged, or the folder: names, links, loops, things that are no files, and copies"""
    if rng.random() < 0.6:
        return damage_one(files, rng)
    changed = dict(files)
    for _ in range(rng.choice([1, 1, 3])):
        name, folder = rng.choice(sorted(changed)), rng.choice(["", "sub/", "circle/"])
        kind = rng.randrange(5)
        if kind == 0:
            changed[folder + rng.choice(STRANGE_NAMES)] = changed.pop(name)
        elif kind == 1:
            changed[folder + rng.choice(STRANGE_NAMES)] = changed[name]
        elif kind == 2:
            target = rng.choice([".", "..", "circle", "nowhere", os.path.basename(name), "/dev/zero", "/proc/self/fd"])
            changed[folder + rng.choice(["link", "link.png", "dataset.json"])] = ("link", target)
        elif kind == 3:
            changed[folder + rng.choice(STRANGE_NAMES)] = rng.choice([each for each in SPECIALS if each is not None])
        else:
            del changed[name]
        changed = changed or dict(files)
    return changed


def write(files: Files, folder: Path) -> None:
    """Put files into a folder that is made for them; what another one stands in the way of is left out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in sorted(files.items()):
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                _make(content, path)
        except (OSError, ValueError):
            continue


def _make(special: Special, path: Path) -> None:
    kind, target = special
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(target)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))
