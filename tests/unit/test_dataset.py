"""stylegan.data.dataset: pictures, labels and splits of an archive, in this process and in others."""

import hashlib
import io
import json
import multiprocessing
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylegan.data import ArchiveError, ImageDataset, InfiniteSampler

Build = Callable[..., Path]


def whole(path: Path, **changes: object) -> ImageDataset:
    arguments = {"use_labels": False, "xflip": False, "split": "all", "max_images": None} | changes
    return ImageDataset(path, **arguments)  # type: ignore[arg-type]


@pytest.fixture
def write_zip(tmp_path: Path) -> Build:
    """write_zip(images, index) -> an archive of these pictures, img0.png onwards, with this dataset.json if any"""

    def write(images: list[Image.Image], index: dict[str, object] | None = None) -> Path:
        path = tmp_path / "made.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for number, image in enumerate(images):
                buffer = io.BytesIO()
                image.save(buffer, "png")
                archive.writestr(f"img{number}.png", buffer.getvalue())
            if index is not None:
                archive.writestr("dataset.json", json.dumps(index))
        return path

    return write


def test_shape_and_type_of_what_it_gives(tiny_archive: Path) -> None:
    data = whole(tiny_archive, use_labels=True)
    assert (len(data), data.resolution, data.channels, data.c_dim) == (24, 16, 3, 2)
    assert data.class_names == ["circle", "square"]
    assert (data[0].shape, data[0].dtype) == ((3, 16, 16), torch.uint8)
    img, c = data.batch([0, 23])
    assert (img.shape, img.dtype) == ((2, 3, 16, 16), torch.uint8)
    assert (c.tolist(), c.dtype) == ([[1, 0], [0, 1]], torch.float32)
    assert torch.equal(data.label(23), c[1])
    assert torch.equal(data[-1], img[1])


def test_pixels_are_those_of_the_pictures(tiny_archive: Path) -> None:
    with zipfile.ZipFile(tiny_archive) as archive:
        image = Image.open(io.BytesIO(archive.read("00000/img00000005.png")))
        expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert torch.equal(whole(tiny_archive)[5], expected)


def test_the_splits_partition_the_archive(tiny_archive: Path) -> None:
    parts = {split: whole(tiny_archive, split=split) for split in ("train", "holdout", "all")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 18, "holdout": 6, "all": 24}
    pictures = {split: {part[i].numpy().tobytes() for i in range(len(part))} for split, part in parts.items()}
    assert pictures["train"] | pictures["holdout"] == pictures["all"]


def test_mirrored_images_follow_the_originals(tiny_archive: Path) -> None:
    data = whole(tiny_archive, use_labels=True, xflip=True)
    assert len(data) == 48
    img, c = data.batch([3, 27])
    assert torch.equal(img[1], img[0].flip(2))
    assert torch.equal(c[1], c[0])
    assert torch.equal(data.batch([3])[0][0], img[0])  # mirroring a batch left the cache as it was
    with pytest.raises(IndexError):
        data[48]


def test_smaller_subsets_lie_within_larger_ones(tiny_archive: Path) -> None:
    pictures = [{whole(tiny_archive, max_images=n)[i].numpy().tobytes() for i in range(n)} for n in (4, 9, 24)]
    assert pictures[0] < pictures[1] < pictures[2]
    assert len(whole(tiny_archive, max_images=1000)) == 24


def test_without_labels_c_is_empty(tiny_archive: Path) -> None:
    data = whole(tiny_archive)
    assert (data.c_dim, data.class_names) == (0, None)
    assert data.labels([0, 1, 2]).shape == (3, 0)
    assert data.label(0).shape == (0,)


def test_every_split_has_the_classes_of_the_whole_archive(write_zip: Build) -> None:
    index = {"labels": [["img0.png", 4], ["img1.png", 0]], "holdout": ["img0.png"]}
    path = write_zip([Image.new("L", (4, 4), shade) for shade in (0, 9)], index)
    assert whole(path, use_labels=True, split="train").labels([0]).tolist() == [[1, 0, 0, 0, 0]]
    assert whole(path, use_labels=True, split="holdout").labels([0]).tolist() == [[0, 0, 0, 0, 1]]


def test_vectors_pass_through_as_labels(write_zip: Build) -> None:
    index = {"labels": [["img0.png", [0.25, 1, 1]], ["img1.png", [0, 0, 2]]]}
    data = whole(write_zip([Image.new("L", (4, 4))] * 2, index), use_labels=True)
    assert data.c_dim == 3
    assert data.labels([1, 0]).tolist() == [[0, 0, 2], [0.25, 1, 1]]


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_any_number_of_channels_is_kept(write_zip: Build, mode: str, channels: int) -> None:
    data = whole(write_zip([Image.new(mode, (8, 8))] * 2))
    assert data[1].shape == (channels, 8, 8)


def test_wide_and_tall_pictures_keep_their_pixels(write_zip: Build) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    data = whole(write_zip([Image.fromarray(pixels)]), xflip=True)
    assert (data.resolution, data.img_shape) == ((8, 12), (3, 8, 12))
    assert np.array_equal(data[0].numpy(), pixels.transpose(2, 0, 1))
    assert np.array_equal(data[1].numpy(), pixels[:, ::-1].transpose(2, 0, 1))


def test_an_official_archive_without_a_split_is_all_for_training(write_zip: Build) -> None:
    path = write_zip([Image.new("RGB", (4, 4))] * 3, {"labels": None})
    assert len(whole(path, split="train")) == 3
    assert len(whole(write_zip([Image.new("RGB", (4, 4))] * 3), split="train")) == 3


def test_the_digest_is_that_of_the_file(tiny_archive: Path) -> None:
    assert whole(tiny_archive).digest == hashlib.sha256(tiny_archive.read_bytes()).hexdigest()


def test_it_can_be_sent_to_another_process(tiny_archive: Path) -> None:
    data = whole(tiny_archive)
    expected = data.batch(range(24))[0]
    copy = pickle.loads(pickle.dumps(data))
    assert len(pickle.dumps(data)) < 5000  # neither the decoded pictures nor the open file
    assert torch.equal(copy.batch(range(24))[0], expected)


def _sum_of(data: ImageDataset, indices: list[int], sums: "multiprocessing.Queue[int]") -> None:
    sums.put(int(data.batch(indices)[0].sum()))


def test_processes_forked_from_one_that_has_the_file_open_read_what_it_reads(
    tiny_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = whole(tiny_archive)
    expected = int(whole(tiny_archive).batch(range(24))[0].sum())
    # A position that is shared gives wrong bytes only now and then, so refuse what would move it.
    monkeypatch.setattr(os, "read", None)
    monkeypatch.setattr(os, "lseek", None)
    context = multiprocessing.get_context("fork")
    sums = context.Queue()
    children = [context.Process(target=_sum_of, args=(data, list(range(24)), sums)) for _ in range(3)]
    for child in children:
        child.start()
    assert [sums.get(timeout=60) for _ in children] == [expected] * 3
    for child in children:
        child.join()


def test_threads_read_what_one_reads(tiny_archive: Path) -> None:
    data = whole(tiny_archive)
    expected = data.batch(range(24))[0]
    with ThreadPoolExecutor(8) as pool:
        for img in pool.map(lambda _: data.batch(range(24))[0], range(40)):
            assert torch.equal(img, expected)


def test_it_keeps_no_pixels(tiny_archive: Path) -> None:
    data = whole(tiny_archive)
    tracemalloc.start()
    for _ in range(3):
        data.batch(range(24))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 24 * 16 * 16 * 3


def error_of(path: Path, **changes: object) -> str:
    def read_all() -> None:
        data = whole(path, **changes)
        data.batch(range(len(data)))

    with pytest.raises(ArchiveError) as error:
        read_all()
    return str(error.value)


def test_an_archive_that_is_not_there_or_not_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    assert error_of(path) == f"{path}: dataset archive not found. Make it with `dvc repro prepare`."
    path.write_text("text")
    assert error_of(path) == (
        f"{path}: not a dataset archive (File is not a zip file). Make it with `dvc repro prepare`."
    )
    zipfile.ZipFile(path, "w").close()
    assert error_of(path) == f"{path}: holds no images. Make an archive with `dvc repro prepare`."


def test_labels_that_are_missing_are_named(write_zip: Build) -> None:
    images = [Image.new("RGB", (4, 4))] * 2
    path = write_zip(images, {"labels": None})
    assert error_of(path, use_labels=True) == (
        f"{path}: holds no labels. Set data.use_labels to false, or prepare it with prepare.labels folders or file."
    )
    path = write_zip(images, {"labels": [["img0.png", 1]]})
    assert error_of(path, use_labels=True) == f"{path}: img1.png has no label. Prepare the archive again."


def test_an_empty_split_is_refused(write_zip: Build) -> None:
    path = write_zip([Image.new("RGB", (4, 4))])
    assert error_of(path, split="holdout") == (
        f"{path}: its holdout split is empty. Prepare it with another prepare.holdout_fraction."
    )


def test_an_image_unlike_the_first_is_named(write_zip: Build) -> None:
    path = write_zip([Image.new("RGB", (4, 4)), Image.new("RGB", (8, 8))])
    assert error_of(path) == (
        f"{path}: img1.png: is 8 x 8 RGB, expected 4 x 4 RGB as the first image. Prepare the archive again."
    )
    path = write_zip([Image.new("P", (4, 4))])
    assert error_of(path) == (
        f"{path}: img0.png: is 4 x 4 P, expected one of L, LA, RGB, RGBA. Prepare the archive again."
    )


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("img0.png", b"nothing")
    message = error_of(path)
    assert message.startswith(f"{path}: img0.png: cannot be decoded (")
    assert message.endswith("). Prepare the archive again.")


def test_a_sampler_needs_images_and_a_seed() -> None:
    with pytest.raises(
        ValueError, match=r"^sampler over 0 images with seed 1: needs an image and a seed of 0 or more$"
    ):
        InfiniteSampler(0, 1)
