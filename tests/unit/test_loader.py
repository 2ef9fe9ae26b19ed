"""stylegan.data.loader and decoded: every way brings the same bits in the same order, and leaves nothing behind."""

import gc
import io
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from stylegan import images
from stylegan.data import ArchiveError, ImageDataset, InfiniteSampler, decoded, loader
from stylegan.data.decoded import InMemory, SharedFile, available_memory, file_beside, free_bytes
from stylegan.data.loader import Host, OnDevice, Place, batches, choose_place, fetched

CPU = torch.device("cpu")
CUDA = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")]
)
COUNT, SIZE = 10, 8
Labels = Callable[[int], object]
LABELS: dict[str, Labels | None] = {
    "none": None, "classes": lambda number: number % 3, "vectors": lambda number: [number / 7, -1.0, 2.0],
}  # fmt: skip


def write(path: Path, label: Labels | None = None) -> Path:
    rng = np.random.default_rng(0)
    names = [f"img{number:02d}.png" for number in range(COUNT)]
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(buffer, "png")
            archive.writestr(name, buffer.getvalue())
        labels = None if label is None else [[name, label(number)] for number, name in enumerate(names)]
        archive.writestr("dataset.json", json.dumps({"labels": labels, "holdout": names[::5]}))
    return path


def opened(path: Path, *, use_labels: bool = False, xflip: bool = True) -> ImageDataset:
    return ImageDataset(path, use_labels=use_labels, xflip=xflip, split="train", max_images=None)


@pytest.fixture
def data(tmp_path: Path) -> ImageDataset:
    """Eight images to train on, and their mirror images"""
    return opened(write(tmp_path / "a.zip"))


PLACES: dict[str, Callable[[ImageDataset, torch.device], Place]] = {
    "archive": Host,
    "memory": lambda data, device: Host(InMemory(data), device),
    "file": lambda data, device: Host(SharedFile(data, file_beside(data)), device),
    "device": OnDevice,
}


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """use(way, threads) -> batches() goes that way from now on"""

    def choose(way: str, threads: int) -> None:
        monkeypatch.setattr(loader, "choose_place", lambda data, device, _: PLACES[way](data, device))
        monkeypatch.setattr(loader, "num_threads", lambda _: threads)

    return choose


def expected(data: ImageDataset, positions: range, share: int) -> list[tuple[Tensor, Tensor]]:
    """As training drew them before there was a loader"""
    sampler = InfiniteSampler(len(data), 3)
    found = [data.batch(sampler.take(position, share)) for position in positions]
    return [(images.to_float(img), c) for img, c in found]


def assert_equal(got: list[tuple[Tensor, Tensor]], want: list[tuple[Tensor, Tensor]]) -> None:
    assert len(got) == len(want)
    for (img, c), (want_img, want_c) in zip(got, want, strict=True):
        assert torch.equal(img.cpu(), want_img)
        assert torch.equal(c.cpu(), want_c)
        assert (img.dtype, c.dtype) == (want_img.dtype, want_c.dtype)
        assert img.is_contiguous()


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("way", PLACES)
def test_every_way_brings_the_same_bits_in_the_same_order(
    way: str, threads: int, labels: str, device: str, use: Callable[[str, int], None], tmp_path: Path
) -> None:
    use(way, threads)
    data = opened(write(tmp_path / "a.zip", LABELS[labels]), use_labels=labels != "none")
    positions = range(0, 90, 6)  # 5 epochs and a half, mirror images included
    for _ in range(2):  # the second time the file is there
        got = list(batches(data, 3, torch.device(device), positions, 6))
        assert {tensor.device.type for batch in got for tensor in batch} == {device}
        assert_equal(got, expected(data, positions, 6))


@pytest.mark.parametrize("way", PLACES)
@pytest.mark.parametrize("begin", [0, 6, 18, 42])
def test_a_run_that_begins_later_gets_what_the_whole_one_gets_from_there(
    way: str, begin: int, use: Callable[[str, int], None], data: ImageDataset
) -> None:
    use(way, 2)
    got = list(batches(data, 3, CPU, range(begin, 60, 6), 6))
    assert_equal(got, expected(data, range(0, 60, 6), 6)[begin // 6 :])


@pytest.mark.parametrize("way", PLACES)
def test_ranks_partition_every_batch(way: str, use: Callable[[str, int], None], data: ImageDataset) -> None:
    use(way, 2)
    shares = [list(batches(data, 3, CPU, range(first, 60 + first, 6), 2)) for first in (0, 2, 4)]
    together = [tuple(torch.cat(parts) for parts in zip(*ranks, strict=True)) for ranks in zip(*shares, strict=True)]
    assert_equal([(img, c) for img, c in together], expected(data, range(0, 60, 6), 6))


def test_a_batch_may_be_larger_than_the_set(use: Callable[[str, int], None], data: ImageDataset) -> None:
    use("device", 2)
    assert_equal(list(batches(data, 3, CPU, range(0, 120, 40), 40)), expected(data, range(0, 120, 40), 40))


def test_a_rank_without_images_gets_empty_batches(data: ImageDataset) -> None:
    (batch,) = batches(data, 3, CPU, range(0, 6, 6), 0)
    assert batch[0].shape == (0, 3, SIZE, SIZE)


class Counted:
    """Images read, and not yet taken"""

    def __init__(self, data: ImageDataset) -> None:
        self.data, self.num_read = data, 0
        self.place = Host(self, CPU)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        self.num_read += len(rows)
        self.data.read(rows, out)


@pytest.mark.parametrize(("threads", "share", "most"), [(1, 4, 8), (4, 4, 8), (4, 2, 8), (8, 1, 16), (1, 1, 2)])
def test_images_on_their_way_are_bounded(threads: int, share: int, most: int, data: ImageDataset) -> None:
    counted = Counted(data)
    order = (np.arange(share) for _ in range(1000))
    fetches = fetched(data, counted.place, order, threads, pin=False)
    for taken in range(1, 5):
        next(fetches)
        deadline = time.monotonic() + 60
        while counted.num_read < taken * share + most and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)  # and then no more
        assert counted.num_read == taken * share + most
    fetches.close()


def test_what_nobody_will_take_is_not_read_any_more(data: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(data)
    read = data.read
    monkeypatch.setattr(data, "read", lambda rows, out: (time.sleep(0.05), read(rows, out)))
    fetches = fetched(data, counted.place, (np.arange(4) for _ in range(9)), 1, pin=False)
    next(fetches)
    fetches.close()
    assert counted.num_read <= 8  # the batch that was taken, and the one being read; a third was waiting


def test_on_the_device_an_image_is_read_once(use: Callable[[str, int], None], data: ImageDataset) -> None:
    counted = Counted(data)
    place = OnDevice(data, CPU)
    place.read = counted.read
    order = (InfiniteSampler(len(data), 3).take(position, 6) for position in range(0, 90, 6))
    for fetch in fetched(data, place, order, 2, pin=False):
        place.gather(torch.from_numpy(fetch.indices) % data.num_images, fetch.brought, fetch.pixels)
    assert counted.num_read == data.num_images


def damage(path: Path, number: int) -> None:
    """Spoil a picture in an archive; its directory says nothing of it"""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"img{number:02d}.png")
    content = bytearray(path.read_bytes())
    content[info.header_offset + 100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("way", PLACES)
def test_a_damaged_entry_is_named_when_its_batch_is_due(
    way: str, use: Callable[[str, int], None], data: ImageDataset
) -> None:
    use(way, 3)
    damage(data.path, 7)
    order = InfiniteSampler(len(data), 3).take(0, 60) % data.num_images
    first = int(np.flatnonzero(data.archive_rows[order] == 7)[0]) // 6
    loop = batches(data, 3, CPU, range(0, 60, 6), 6)
    for _ in range(first):
        next(loop)
    with pytest.raises(ArchiveError, match=r"a\.zip: img07\.png: cannot be decoded \(Bad CRC-32 .*Prepare the archive"):
        next(loop)
    assert not threads_of_images()


def threads_of_images() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("images")]


@pytest.mark.parametrize("end", ["close", "forget", "exhaust"])
def test_threads_end_with_the_loop(end: str, data: ImageDataset) -> None:
    loop = batches(data, 3, CPU, range(0, 60, 6), 6)
    next(loop)
    assert threads_of_images()
    if end == "close":
        loop.close()
    elif end == "exhaust":
        list(loop)
    else:
        del loop
        gc.collect()
    assert not threads_of_images()


@pytest.mark.parametrize("end", ["pass", "sys.exit(0)"])
def test_a_process_ends_with_a_loop_half_way(end: str, data: ImageDataset, repository: Path) -> None:
    code = f"""
import sys, torch
from pathlib import Path
from stylegan.data import ImageDataset
from stylegan.data.loader import batches
data = ImageDataset(Path({str(data.path)!r}), use_labels=False, xflip=True, split="train", max_images=None)
loop = batches(data, 3, torch.device("cpu"), range(0, 10**9, 6), 6)
next(loop)
{end}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, timeout=120, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def fill(data: ImageDataset, seed: int, results: "multiprocessing.Queue[bool]") -> None:
    """Read all images through the file, in an order of the process's own, and tell whether they are right."""
    file = SharedFile(data, file_beside(data))
    rows = np.random.default_rng(seed).permutation(data.num_images)
    out = np.empty((len(rows), *data.img_shape), np.uint8)
    file.read(rows, out)
    results.put(np.array_equal(out, data.batch(rows)[0].numpy()))


def all_from(file: SharedFile, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Images of the file; none may be decoded"""
    out = np.empty((file.dataset.num_images, *file.dataset.img_shape), np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr(ImageDataset, "read", None)
        file.read(np.arange(file.dataset.num_images), out)
    return out


def pixels_of(data: ImageDataset) -> np.ndarray:
    return data.batch(range(data.num_images))[0].numpy()


def test_processes_that_begin_the_file_at_once_make_one_right_file(
    data: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=fill, args=(data, seed, results)) for seed in range(4)]
    for child in children:
        child.start()
    assert [results.get(timeout=60) for _ in children] == [True] * 4
    for child in children:
        child.join()
    assert np.array_equal(all_from(SharedFile(data, file_beside(data)), monkeypatch), pixels_of(data))


def fill_for_ever(path: Path) -> None:
    data = opened(path)
    while True:
        file_beside(data).unlink(missing_ok=True)
        SharedFile(data, file_beside(data)).read(np.arange(data.num_images), np.empty((8, 3, SIZE, SIZE), np.uint8))


def test_a_process_that_is_killed_leaves_a_usable_file(data: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("fork")
    for number in range(5):
        child = context.Process(target=fill_for_ever, args=(data.path,))
        child.start()
        while not file_beside(data).exists():
            time.sleep(0.001)
        time.sleep(random.Random(number).random() / 50)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        file, out = SharedFile(data, file_beside(data)), np.empty((8, 3, SIZE, SIZE), np.uint8)
        file.read(np.arange(8), out)
        assert np.array_equal(out, pixels_of(data))
        assert np.array_equal(all_from(file, monkeypatch), pixels_of(data))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:100],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),
        lambda content: b"\xff" * len(content),
        lambda content: content[:-100] + bytes(100),  # a write that reached the disk in part
        lambda content: content + b"more",
        lambda content: content[:300] + bytes([content[300] ^ 1]) + content[301:],
    ],
)
@pytest.mark.parametrize("is_open", [False, True])
def test_what_is_damaged_in_the_file_is_decoded_again(
    is_open: bool, spoil: Callable[[bytes], bytes], data: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, want, out = SharedFile(data, file_beside(data)), pixels_of(data), np.empty((8, 3, SIZE, SIZE), np.uint8)
    file.read(np.arange(8), out)
    file.path.write_bytes(spoil(file.path.read_bytes()))
    # A process that has checked an image believes the file from then on, but not that it is still there.
    file = file if is_open and len(spoil(b"x" * 10_000)) < 10_000 else SharedFile(data, file.path)
    file.read(np.arange(8), out)
    assert np.array_equal(out, want)
    assert np.array_equal(all_from(SharedFile(data, file.path), monkeypatch), want)


def test_splits_and_subsets_share_the_file(data: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ImageDataset(data.path, use_labels=False, xflip=False, split="all", max_images=None)
    SharedFile(whole, file_beside(whole)).read(np.arange(COUNT), np.empty((COUNT, 3, SIZE, SIZE), np.uint8))
    few = ImageDataset(data.path, use_labels=False, xflip=False, split="train", max_images=3)
    for part in (data, data.holdout(), few):
        want = pixels_of(part)
        assert np.array_equal(all_from(SharedFile(part, file_beside(part)), monkeypatch), want)
    assert file_beside(data) == file_beside(few) == file_beside(data.holdout())


def test_the_file_of_another_archive_of_the_name_is_removed(data: ImageDataset) -> None:
    first, bystander = file_beside(data), data.path.with_name(".b.zip.0123.pixels")
    reader, out, want = SharedFile(data, first), np.empty((8, 3, SIZE, SIZE), np.uint8), pixels_of(data)
    reader.read(np.arange(8), out)
    bystander.touch()
    with zipfile.ZipFile(data.path, "a") as archive:
        archive.writestr("one_more.txt", b"")
    second = file_beside(opened(data.path))
    assert first != second
    assert not first.exists()
    assert bystander.exists()
    reader.read(np.arange(8), out)  # who has it open is not disturbed
    assert np.array_equal(out, want)


def test_a_full_disk_costs_speed_only_and_is_told_once(data: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = SharedFile(data, file_beside(data)), np.empty((8, 3, SIZE, SIZE), np.uint8)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.warns(UserWarning, match=r"\.pixels: No space left on device\. Images that it lacks are decoded anew"):
        file.read(np.arange(8), out)
    file.read(np.arange(8), out)
    assert np.array_equal(out, pixels_of(data))


def test_images_in_memory_take_it_when_they_are_asked_for(data: ImageDataset) -> None:
    memory = InMemory(data)
    memory.read(np.array([1, 5]), np.empty((2, 3, SIZE, SIZE), np.uint8))
    assert np.flatnonzero(memory.is_there).tolist() == [1, 5]


BYTES = 8 * 3 * SIZE * SIZE


@pytest.mark.parametrize(
    ("device_free", "memory", "disk", "ranks", "way"),
    [
        (5 * BYTES, 0, 0, 1, "OnDevice"),
        (5 * BYTES - 1, 8 * BYTES, 0, 1, "InMemory"),
        (None, 8 * BYTES, 0, 1, "InMemory"),
        (None, 8 * BYTES, 2 * BYTES, 2, "SharedFile"),
        (None, 16 * BYTES, 2 * BYTES, 2, "InMemory"),
        (None, 8 * BYTES - 1, 2 * BYTES, 1, "SharedFile"),
        (0, 0, 2 * BYTES, 1, "SharedFile"),
        (0, 0, 2 * BYTES - 1, 1, "ImageDataset"),
    ],
)
def test_pixels_are_where_there_is_room(
    device_free: int | None, memory: int, disk: int, ranks: int, way: str,
    data: ImageDataset, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    device = CPU if device_free is None else torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (device_free, 0))
    monkeypatch.setattr(loader, "OnDevice", lambda *_: SimpleNamespace(source=type("OnDevice", (), {})()))
    monkeypatch.setattr(loader, "available_memory", lambda: memory)
    monkeypatch.setattr(loader, "free_bytes", lambda _: disk)
    if way == "ImageDataset":
        with pytest.warns(UserWarning, match=r"a\.zip: 0 GB of pixels are more than 50% of the free disk space, so "):
            place = choose_place(data, device, ranks)
    else:
        place = choose_place(data, device, ranks)
    assert type(place.source).__name__ == way  # type: ignore[attr-defined]


def test_a_folder_that_nothing_can_be_written_to_is_no_reason_to_stop(
    data: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(loader, "available_memory", lambda: 0)
    monkeypatch.setattr(os, "open", refused)
    with pytest.warns(
        UserWarning, match=r"the file of pixels cannot be written next to it \(Permission denied\), so every image"
    ):
        assert choose_place(data, CPU, 1).source is data  # type: ignore[attr-defined]


def test_what_the_file_has_already_counts_as_free(data: ImageDataset) -> None:
    file = SharedFile(data, file_beside(data))
    before = free_bytes(file.path)
    file.path.write_bytes(bytes(2**24))
    assert abs(free_bytes(file.path) - before) < 2**23 or os.statvfs(file.path).f_bavail == 0


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 1000 kB available, and a folder for its container's files"""
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 1000 kB\n")
    monkeypatch.setattr(decoded, "MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(decoded, "CONTAINER", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("limit", "available"), [("max", 1024_000), ("700000", 500_000), ("99999999", 1024_000)])
def test_memory_is_what_machine_and_container_allow(limit: str, available: int, system: Path) -> None:
    (system / "memory.max").write_text(f"{limit}\n")
    (system / "memory.current").write_text("300000\n")
    (system / "memory.stat").write_text("anon 1\ninactive_file 100000\n")
    assert available_memory() == available


def test_memory_without_a_container_is_the_machines(system: Path) -> None:
    assert available_memory() == 1024_000
    (system / "meminfo").unlink()
    assert available_memory() == decoded.UNKNOWN_MEMORY
