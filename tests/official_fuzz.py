"""Corrupts official files, and loads them in a process of its own that notes everything but reading the file.

python -m tests.official_fuzz FOLDER COUNT loads COUNT corrupted files and prints what happened as JSON.
"""

import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stylegan.official import OfficialFileError, load_official
from tests.official_files import discriminator_record, generator_record, small_discriminator, small_generator
from tests.official_tensorflow import tensorflow_file
from tests.pickle_writer import dump

ROOM = 512 * 2**20  # bytes of address space that loading may take beside what the process has
HARMLESS = ("builtins.id", "object.__getattr__", "object.__setattr__", "sys._getframe", "time.sleep")
TINY_G: dict[str, Any] = {"resolution": 8, "channel_max": 2, "mapping_layers": 1, "z_dim": 2, "w_dim": 2}
TINY_D: dict[str, Any] = {"resolution": 8, "channel_max": 2, "mapping_layers": 0}


def tiny_files() -> list[bytes]:
    """One of PyTorch and one of TensorFlow, with more opcodes than numbers"""
    G, D = small_generator(**TINY_G), small_discriminator(**TINY_D)
    return [dump({"G_ema": generator_record(G), "D": discriminator_record(D)}), tensorflow_file(G, D)]


def _flip(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 3, 30])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


def _drop(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    del content[start : start + rng.choice([1, 8, 1000])]


def _splice(content: bytearray, rng: random.Random) -> None:
    size = rng.choice([1, 16, 500, 5000])
    source, target = rng.randrange(len(content)), rng.randrange(len(content))
    content[target : target + size * rng.randrange(2)] = content[source : source + size]


def _saturate(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    content[start : start + 4] = rng.choice([b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"cos\nsystem\n"])


CORRUPTIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (_flip, _cut, _drop, _splice, _saturate)


def corrupted(content: bytes, seed: int) -> bytes:
    """A damaged copy, the same for the same seed"""
    rng = random.Random(seed)
    copy = bytearray(content)
    rng.choice(CORRUPTIONS)(copy, rng)
    return bytes(copy)


def main(folder: Path, count: int) -> dict[str, Any]:
    """Load damaged copies. Any other error than OfficialFileError ends the process."""
    files = tiny_files()
    paths = [folder / f"{seed}.pkl" for seed in range(count)]
    for seed, path in enumerate(paths):
        path.write_bytes(corrupted(files[seed % len(files)], seed))
    for index, content in enumerate(files):
        (folder / f"whole{index}.pkl").write_bytes(content)
        load_official(folder / f"whole{index}.pkl")  # what torch imports on its first use is no doing of a file
    events: list[str] = []
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    watching = False

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching or event in HARMLESS:
            return
        if event == "open" and arguments[0] == str(reading) and arguments[1] == "r":
            return
        events.append(f"{event} {arguments}")

    sys.addaudithook(note)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.RLIM_INFINITY))
    for reading in paths:
        start = time.monotonic()
        watching = True
        try:
            load_official(reading)
            outcome = "loaded"
        except OfficialFileError:
            outcome = "refused"
        watching = False
        outcomes[outcome] += 1
        slowest = max(slowest, time.monotonic() - start)
    return {"events": events, "outcomes": outcomes, "slowest": slowest}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
