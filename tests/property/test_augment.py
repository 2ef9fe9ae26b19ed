"""Laws of the augmentation pipe."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from stylegan.augment import AugmentPipe
from stylegan.config.sections import MultipliersConfig

NAMES = list(MultipliersConfig.model_fields)
seeds = st.integers(0, 2**31)
percentiles = st.floats(0.01, 0.99)


def draw_images(seed: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, 24, 24, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@settings(max_examples=20)  # a warp takes milliseconds
@given(seeds, st.sampled_from([1, 3, 4]))
def test_nothing_happens_at_p_0(seed: int, channels: int) -> None:
    images = draw_images(seed, channels)
    assert torch.equal(AugmentPipe.from_multipliers(**dict.fromkeys(NAMES, 1.0))(images, p=0.0), images)


@settings(max_examples=20)  # a warp takes milliseconds
@given(seeds)
def test_nothing_happens_without_transforms(seed: int) -> None:
    images = draw_images(seed)
    assert torch.equal(AugmentPipe.from_multipliers()(images, p=1.0), images)


@settings(max_examples=10)  # a warp takes milliseconds
@given(seeds)
def test_flipping_twice_is_the_identity(seed: int) -> None:
    smooth = F.interpolate(draw_images(seed)[..., ::6, ::6], size=24, mode="bilinear")
    flip = AugmentPipe.from_multipliers(xflip=1.0)
    twice = flip(flip(smooth, p=1.0, percentile=0.9), p=1.0, percentile=0.9)
    # sym6 is only nearly symmetric: a mirrored image sits a fraction of a pixel off, and mirrored again nearly back.
    torch.testing.assert_close(twice, smooth, rtol=0, atol=0.02)


@settings(max_examples=20)  # a warp takes milliseconds
@given(seeds, st.sampled_from([name for name in NAMES if name != "noise"]), percentiles)
def test_permuting_the_batch_permutes_the_output(seed: int, name: str, percentile: float) -> None:
    images, pipe = draw_images(seed), AugmentPipe.from_multipliers(**{name: 1.0})
    there, back = (pipe(x, p=1.0, percentile=percentile) for x in (images, images.flip(0)))
    torch.testing.assert_close(back.flip(0), there, rtol=0, atol=1e-5)  # other blocking of fp32 sums


@settings(max_examples=20)  # a warp takes milliseconds
@given(seeds, st.sampled_from(["hue", "saturation"]), percentiles)
def test_colour_rotations_and_saturation_keep_the_luma(seed: int, name: str, percentile: float) -> None:
    images = draw_images(seed)
    out = AugmentPipe.from_multipliers(**{name: 1.0})(images, p=1.0, percentile=percentile)
    torch.testing.assert_close(out.mean(dim=1), images.mean(dim=1), rtol=0, atol=1e-5)  # fp32, factors up to 2^1.6


@settings(max_examples=20)  # a warp takes milliseconds
@given(seeds, seeds)
def test_equal_seeds_augment_equally(seed: int, other: int) -> None:
    images, pipe = draw_images(seed), AugmentPipe.from_multipliers(**dict.fromkeys(NAMES, 1.0))
    out = []
    for _ in range(2):
        torch.manual_seed(other)
        out.append(pipe(images, p=0.7))
    assert torch.equal(*out)
