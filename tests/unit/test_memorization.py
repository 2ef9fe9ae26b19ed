"""stylegan.metrics.memorization: copies are seen through mirrors, shifts and noise, and nothing else is one."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.metrics.arrays import MetricError
from stylegan.metrics.memorization import SIDE, among_others, thumbnails, training_neighbors


def photographs(count: int, seed: int, side: int = 32) -> Tensor:
    """uint8 [N, 3, H, W] with power 1 / f^2, as natural images have (Field 1987), of contrast 50"""
    draw = torch.Generator().manual_seed(seed)
    f = (torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side) ** 2).sqrt().clamp(min=1 / side)
    img = torch.fft.irfft2(torch.fft.rfft2(torch.randn(count, 3, side, side, generator=draw)) / f)
    img = 50 * img / img.std(dim=(2, 3), keepdim=True) + 128
    return img.round().clamp(0, 255).to(torch.uint8)


TRAIN = photographs(300, 0)


def shifted(img: Tensor) -> Tensor:
    return F.pad(img.float(), (1, 0, 0, 0), mode="reflect")[..., :-1].to(torch.uint8)


def noisy(img: Tensor, sigma: float) -> Tensor:
    draw = torch.Generator().manual_seed(7)
    return (img + sigma * torch.randn(img.shape, generator=draw)).round().clamp(0, 255).to(torch.uint8)


def share(gen: Tensor, train: Tensor = TRAIN) -> float:
    return training_neighbors(thumbnails(train), thumbnails(gen), 1).memorized


COPIES = {
    "equal": TRAIN[:100],
    "mirrored": TRAIN[:100].flip(3),
    "shifted by a pixel": shifted(TRAIN[:100]),
    "noise of sigma 4": noisy(TRAIN[:100], 4),
    "noise of sigma 8": noisy(TRAIN[:100], 8),
    "mirrored, noise of sigma 8": noisy(TRAIN[:100].flip(3), 8),
    "brighter": (TRAIN[:100].float() * 0.8 + 40).to(torch.uint8),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_seen(kind: str) -> None:
    assert share(COPIES[kind]) > 0.95


@pytest.mark.parametrize("kind", COPIES)
def test_they_are_of_the_images_that_they_copy(kind: str) -> None:
    found = training_neighbors(thumbnails(TRAIN), thumbnails(COPIES[kind]), 1)
    assert found.index[:, 0].tolist() == list(range(100))


def test_fresh_images_and_the_training_images_among_each_other_are_alike_and_hardly_ever_copies() -> None:
    fresh, yardstick = share(photographs(300, 1)), among_others(thumbnails(TRAIN)).memorized
    assert max(fresh, yardstick) < 0.02


def test_near_duplicates_in_the_training_set_raise_the_yardstick_and_hide_no_copy() -> None:
    train = torch.cat([TRAIN, noisy(TRAIN[:30], 4)])
    assert among_others(thumbnails(train)).memorized == pytest.approx(60 / 330, abs=0.01)
    assert share(COPIES["noise of sigma 8"], train) > 0.95


def test_images_unlike_all_others_are_no_copies() -> None:
    assert share(torch.randint(0, 256, (50, 3, 32, 32), generator=torch.Generator().manual_seed(3)).byte()) == 0


@pytest.mark.parametrize("size", [(4, 4), (10, 6), (48, 80), (7, 9)])
def test_the_thumbnail_of_a_mirror_image_is_the_mirrored_thumbnail(size: tuple[int, int]) -> None:
    img = torch.randint(0, 256, (3, 2, *size), generator=torch.Generator().manual_seed(0)).byte()
    small = thumbnails(img)
    assert small.shape == (3, 2, SIDE, SIDE)
    assert torch.allclose(thumbnails(img.flip(3)), small.flip(3), atol=1e-4)  # sums of levels in another order
    assert torch.allclose(small.mean(dim=(2, 3)), torch.zeros(3, 2), atol=1e-4)


@pytest.mark.parametrize("k", [0, 301])
def test_impossible_numbers_of_neighbours_are_refused(k: int) -> None:
    with pytest.raises(MetricError) as caught:
        training_neighbors(thumbnails(TRAIN), thumbnails(TRAIN[:3]), k)
    assert str(caught.value) == f"training_neighbors: k is {k}; expected 1 to 300, the number of training images."


def test_two_training_images_are_too_few() -> None:
    small = thumbnails(TRAIN)
    assert among_others(small[:3]).memorized == 0
    with pytest.raises(MetricError, match=r"2 training image\(s\); at least 3 are needed"):
        among_others(small[:2])
