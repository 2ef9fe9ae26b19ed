"""stylegan.augment.pipe: what each transform does to an image, by hand."""

from typing import Any

import pytest
import torch

from stylegan.augment import AugmentPipe, warp
from stylegan.augment.transforms import geometry
from stylegan.config import ConfigError
from stylegan.config.sections import MultipliersConfig

IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
GEOMETRIC = ("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac")
COLOURS = ("brightness", "contrast", "lumaflip", "hue", "saturation")


def resample(images: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """All images along maps of their pixels [N, 3, 3]"""
    h, w = images.shape[2:]
    margins = warp.find_margins(inverse, h, w)
    return warp.resample(images, warp.find_theta(inverse, h, w, margins), margins)


def pipe(*names: str) -> AugmentPipe:
    return AugmentPipe.from_multipliers(**dict.fromkeys(names, 1.0))


@pytest.mark.parametrize("name", list(MultipliersConfig.model_fields))
def test_every_transform_changes_images_and_keeps_their_shape(name: str) -> None:
    images = torch.nn.functional.interpolate(IMAGES, scale_factor=2)  # filters need more than 21 pixels
    out = pipe(name)(images, p=1.0)
    assert out.shape == images.shape
    assert out.isfinite().all()
    assert not torch.equal(out, images)


def test_unknown_transform_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        AugmentPipe.from_multipliers(xflip=1, flip=1, blur=1)
    assert str(caught.value) == (
        "blur, flip: no such transform; known: xflip, rotate90, xint, scale, rotate, aniso, xfrac, brightness, "
        "contrast, lumaflip, hue, saturation, imgfilter, noise, cutout"
    )


@pytest.mark.parametrize("channels", [2, 5])
def test_colours_of_other_channels_are_refused(channels: int) -> None:
    with pytest.raises(ConfigError) as caught:
        pipe("hue")(torch.zeros(1, channels, 8, 8), p=1.0)
    assert str(caught.value) == (
        f"colour transforms know L, RGB and RGBA images, not {channels} channels. Set "
        "augment.multipliers brightness, contrast, lumaflip, hue and saturation to 0."
    )
    assert pipe("xflip")(torch.zeros(1, channels, 8, 8), p=1.0).shape == (1, channels, 8, 8)


def test_integer_translation_moves_by_whole_pixels() -> None:
    # Percentile 0.9 of U(-1/8, 1/8) is 0.1: 1.6 of 16 pixels, rounded to 2.
    out = pipe("xint")(IMAGES, p=1.0, percentile=0.9)
    expected = IMAGES.roll((2, 2), dims=(2, 3))
    torch.testing.assert_close(out[..., 2:, 2:], expected[..., 2:, 2:], rtol=0, atol=2e-5)  # fp32 filters


def test_flip_and_quarter_turns() -> None:
    smooth = torch.nn.functional.interpolate(torch.rand(2, 3, 3, 3) * 2 - 1, size=24, mode="bilinear")
    close: Any = {"rtol": 0, "atol": 0.05}  # sym6 is only nearly symmetric, so a mirrored image sits a little off
    torch.testing.assert_close(pipe("xflip")(smooth, 1.0, percentile=0.9), smooth.flip(3), **close)
    for percentile, turns in ((0.1, 0), (0.3, 1), (0.6, 2), (0.9, 3)):
        turned = pipe("rotate90")(smooth, 1.0, percentile=percentile)
        torch.testing.assert_close(turned, smooth.rot90(turns, (2, 3)), **close)


def test_images_that_are_not_square_turn_by_halves() -> None:
    smooth = torch.nn.functional.interpolate(torch.rand(2, 3, 3, 4) * 2 - 1, size=(24, 32), mode="bilinear")
    for percentile, turns in ((0.1, 0), (0.4, 0), (0.6, 2), (0.9, 2)):
        turned = pipe("rotate90")(smooth, 1.0, percentile=percentile)
        torch.testing.assert_close(turned, smooth.rot90(turns, (2, 3)), rtol=0, atol=0.05)  # as above


def test_every_transform_keeps_other_shapes_and_numbers_of_channels() -> None:
    images = torch.rand(2, 5, 24, 40)
    others = [name for name in MultipliersConfig.model_fields if name not in COLOURS]
    out = pipe(*others)(images, p=1.0)
    assert out.shape == images.shape
    assert out.isfinite().all()


def test_filters_of_the_geometry_reconstruct_an_image_that_does_not_move() -> None:
    torch.testing.assert_close(resample(IMAGES, torch.eye(3).repeat(4, 1, 1)), IMAGES, rtol=0, atol=2e-5)


@pytest.mark.parametrize("size", [(24, 24), (20, 30)])
def test_resampling_by_matrices_equals_resampling_by_filters(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, inverse = (
        torch.rand(4, 3, *size) * 2 - 1,
        geometry({"rotate": [torch.tensor([0.1, 0.8, 2.0, 3.0])]}, 4, *size),
    )
    by_matrices = resample(images, inverse)
    monkeypatch.setattr(warp, "DENSE_SIZE", 0)
    torch.testing.assert_close(by_matrices, resample(images, inverse), rtol=0, atol=1e-5)


def test_only_the_images_that_move_are_resampled() -> None:
    out = pipe("xflip")(IMAGES.repeat(8, 1, 1, 1), p=1.0)
    still = [torch.equal(image, original) for image, original in zip(out, IMAGES.repeat(8, 1, 1, 1), strict=True)]
    assert 0 < sum(still) < 32


def test_strength_grows_with_p() -> None:
    images = IMAGES[:1].expand(400, -1, -1, -1)
    changed = [(pipe("brightness")(images, p=p) != images).flatten(1).any(dim=1).float().mean() for p in (0.1, 0.5)]
    # One standard deviation of each share is at most 0.025.
    torch.testing.assert_close(torch.stack(changed), torch.tensor([0.1, 0.5]), rtol=0, atol=0.08)


def test_multiplier_scales_the_probability() -> None:
    images = IMAGES[:1].expand(400, -1, -1, -1)
    half = AugmentPipe.from_multipliers(brightness=0.5)
    share = (half(images, p=1.0) != images).flatten(1).any(dim=1).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.08)  # one standard deviation is 0.025


def test_rotation_before_or_after_happens_with_probability_p() -> None:
    draws_of = pipe("rotate")
    images = IMAGES[:1, :1, :8, :8].expand(400, -1, -1, -1)
    share = (draws_of(images, p=0.5) != images).flatten(1).any(dim=1).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.08)  # one standard deviation is 0.025


def test_colours_leave_alpha_alone() -> None:
    images = torch.rand(4, 4, 8, 8)
    out = pipe(*COLOURS)(images, p=1.0)
    assert torch.equal(out[:, 3], images[:, 3])
    assert not torch.equal(out[:, :3], images[:, :3])


def test_grey_images_have_brightness_and_contrast_but_no_hue() -> None:
    grey = IMAGES[:, :1]
    torch.testing.assert_close(pipe("hue", "saturation")(grey, p=1.0), grey)
    assert not torch.equal(pipe("brightness")(grey, p=1.0), grey)
    torch.testing.assert_close(pipe("lumaflip")(grey, p=1.0, percentile=0.9), -grey)


def test_filters_at_their_median_strength_do_nothing() -> None:
    images = torch.rand(2, 3, 24, 24)
    torch.testing.assert_close(pipe("imgfilter")(images, p=1.0, percentile=0.5), images, rtol=0, atol=2e-6)


def test_noise_is_centred_and_as_strong_as_drawn() -> None:
    images = torch.zeros(2, 3, 64, 64)
    out = pipe("noise")(images, p=1.0, percentile=0.5)
    # erfinv(1/2) = 0.4769 times 0.1; 12288 values give the deviation to about 1 %.
    torch.testing.assert_close(out.std(dim=(1, 2, 3)), torch.full((2,), 0.04769), rtol=0.03, atol=0)
    assert out.mean().abs() < 0.002


def test_cutout_blanks_a_quarter_of_the_area() -> None:
    out = pipe("cutout")(torch.ones(1, 3, 16, 16), p=1.0, percentile=0.5)[0]
    expected = torch.ones(3, 16, 16)
    expected[:, 4:12, 4:12] = 0
    assert torch.equal(out, expected)


def test_images_pass_gradients() -> None:
    images = torch.rand(2, 3, 24, 24, requires_grad=True)
    out = pipe(*GEOMETRIC, *COLOURS, "imgfilter", "noise", "cutout")(images, p=1.0)
    (grad,) = torch.autograd.grad(out.square().sum(), images, create_graph=True)
    grad.square().sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert images.grad.any()
