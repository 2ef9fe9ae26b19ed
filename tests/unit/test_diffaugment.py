"""stylegan.augment.diffaugment: what each operation does to an image, against plain loops."""

import pytest
import torch

from stylegan.augment import diffaugment
from stylegan.config import ConfigError

N = 200  # enough to come near both ends of every range
ALL = ("color", "translation", "cutout")
IMAGES = torch.rand(N, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def fills(values: torch.Tensor, low: float, high: float) -> bool:
    """Whether the values lie in a range and come within a twentieth of both ends"""
    margin = (high - low) / 20
    return bool(low <= values.min() < low + margin and high - margin < values.max() <= high)


def test_color_moves_a_grey_image_by_at_most_a_half_up_or_down() -> None:
    moved = diffaugment(torch.full((N, 3, 4, 4), 0.25), ["color"]) - 0.25
    assert torch.equal(moved.amin(dim=(1, 2, 3)), moved.amax(dim=(1, 2, 3)))
    assert fills(moved[:, 0, 0, 0], -0.5, 0.5)


def test_color_scales_channels_and_pixels_around_their_means() -> None:
    images = torch.zeros(N, 3, 1, 2)
    images[:, :, :, 1] = 0.4  # two greys,
    images += torch.tensor([0.3, 0.0, -0.3])[:, None, None]  # tinted equally
    out = diffaugment(images, ["color"])
    grey = out.mean(dim=1)[:, 0]
    contrast = (grey[:, 1] - grey[:, 0]) / 0.4
    saturation = (out[:, 0, 0, 0] - out[:, 2, 0, 0]) / 0.6 / contrast
    brightness = out.mean(dim=(1, 2, 3)) - images.mean(dim=(1, 2, 3))  # the other two keep the mean
    assert fills(contrast, 0.5, 1.5)
    assert fills(saturation, 0, 2)
    assert fills(brightness, -0.5, 0.5)
    for n in range(N):
        for channel, tint in enumerate((0.3, 0.0, -0.3)):
            for x, side in ((0, -0.2), (1, 0.2)):
                expected = 0.2 + brightness[n] + contrast[n] * (side + saturation[n] * tint)
                assert out[n, channel, 0, x] == pytest.approx(expected.item(), abs=1e-6)  # fp32


def test_translation_shifts_whole_pixels_and_fills_with_zeros() -> None:
    seen = set()
    for image, out in zip(IMAGES, diffaugment(IMAGES, ["translation"]), strict=True):
        found = [
            (dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if torch.equal(shifted(image, dy, dx), out)
        ]  # fmt: skip
        assert len(found) == 1
        seen.update(found)
    assert len(seen) == 25  # an eighth of 16 pixels each way


def shifted(image: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    out, (_, h, w) = torch.zeros_like(image), image.shape
    out[:, max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = image[
        :, max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
    ]
    return out


def test_translation_of_an_image_that_is_not_square_follows_each_side() -> None:
    out = diffaugment(torch.ones(N, 1, 8, 32), ["translation"])
    rows, cols = (out.amax(dim=(1, dim)).sum(dim=1) for dim in (3, 2))
    assert (rows.min(), cols.min()) == (7, 28)


def test_cutout_blanks_a_square_of_half_the_size_as_far_as_it_lies_in_the_image() -> None:
    out = diffaugment(torch.ones(N, 3, 16, 16), ["cutout"])
    sides = []
    for image in out:
        rows, cols = (image[0] == 0).any(dim=1).nonzero(), (image[0] == 0).any(dim=0).nonzero()
        top, bottom, left, right = rows.min(), rows.max() + 1, cols.min(), cols.max() + 1
        expected = torch.ones_like(image)
        expected[:, top:bottom, left:right] = 0
        assert torch.equal(image, expected)
        sides += [int(bottom - top), int(right - left)]
    assert (min(sides), max(sides)) == (4, 8)


@pytest.mark.parametrize("name", ALL)
def test_every_image_is_changed_in_its_own_way_and_a_seed_repeats_it(name: str) -> None:
    images = IMAGES[:1].expand(8, -1, -1, -1)
    torch.manual_seed(1)
    out = diffaugment(images, [name])
    torch.manual_seed(1)
    assert torch.equal(out, diffaugment(images, [name]))
    assert len({image.numpy().tobytes() for image in out}) >= 6  # translations have only 25 ways
    assert out.shape == images.shape


def test_operations_follow_each_other() -> None:
    torch.manual_seed(1)
    out = diffaugment(IMAGES, ALL)
    torch.manual_seed(1)
    expected = IMAGES
    for name in ALL:
        expected = diffaugment(expected, [name])
    assert torch.equal(out, expected)


def test_color_leaves_alpha_alone_and_knows_grey() -> None:
    images = torch.cat([IMAGES, IMAGES[:, :1]], dim=1)
    torch.manual_seed(1)
    out = diffaugment(images, ["color"])
    torch.manual_seed(1)
    assert torch.equal(out[:, :3], diffaugment(IMAGES, ["color"]))
    assert torch.equal(out[:, 3:], images[:, 3:])
    assert not torch.equal(diffaugment(IMAGES[:, :1], ["color"]), IMAGES[:, :1])


@pytest.mark.parametrize("channels", [2, 5])
def test_color_refuses_other_channels(channels: int) -> None:
    with pytest.raises(ConfigError) as caught:
        diffaugment(torch.zeros(1, channels, 4, 4), ALL)
    assert str(caught.value) == (
        f"augment.diffaugment color knows L, RGB and RGBA images, not {channels} channels. Take it out of the list."
    )
    assert diffaugment(torch.zeros(1, channels, 4, 4), ALL[1:]).shape[1] == channels
