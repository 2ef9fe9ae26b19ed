"""stylegan.ops.modulated_conv2d: what demodulation guarantees."""

import torch

from stylegan.ops import modulated_conv2d

GENERATOR = torch.Generator().manual_seed(0)
X, WEIGHT = torch.randn(3, 8, 6, 6, generator=GENERATOR), torch.randn(5, 8, 3, 3, generator=GENERATOR)
STYLES = torch.randn(3, 8, generator=GENERATOR)


def test_demodulated_output_does_not_depend_on_style_scale() -> None:
    # The 1e-8 under the root is felt once the squared sum, about 72 s^2 here, is no longer far above it.
    torch.testing.assert_close(modulated_conv2d(X, WEIGHT, STYLES * 100), modulated_conv2d(X, WEIGHT, STYLES))


def test_demodulated_output_does_not_depend_on_weight_scale() -> None:
    torch.testing.assert_close(modulated_conv2d(X, WEIGHT * 100, STYLES), modulated_conv2d(X, WEIGHT, STYLES))


def test_demodulated_output_of_unit_noise_has_unit_variance() -> None:
    x = torch.randn(2, 32, 64, 64, generator=GENERATOR)
    weight, styles = torch.randn(16, 32, 3, 3, generator=GENERATOR), torch.randn(2, 32, generator=GENERATOR)
    out = modulated_conv2d(x, weight, styles)[:, :, 1:-1, 1:-1]
    # 3844 pixels that share neighbours: the estimate of each channel's variance is good to about a tenth.
    assert ((out.var(dim=(2, 3)) - 1).abs() < 0.2).all()


def test_without_demodulation_styles_scale_the_input_channels() -> None:
    expected = modulated_conv2d(X * STYLES[:, :, None, None], WEIGHT, torch.ones_like(STYLES), demodulate=False)
    assert torch.equal(modulated_conv2d(X, WEIGHT, STYLES, demodulate=False), expected)


def test_gain_scales_the_output() -> None:
    for demodulate in (False, True):
        plain = modulated_conv2d(X, WEIGHT, STYLES, demodulate=demodulate)
        torch.testing.assert_close(modulated_conv2d(X, WEIGHT, STYLES, demodulate=demodulate, gain=3.0), plain * 3)


def test_zero_style_gives_zero_and_a_finite_gradient() -> None:
    styles = torch.zeros(3, 8, requires_grad=True)
    out = modulated_conv2d(X, WEIGHT, styles)
    assert not out.any()
    out.sum().backward()
    assert styles.grad is not None
    assert styles.grad.isfinite().all()
