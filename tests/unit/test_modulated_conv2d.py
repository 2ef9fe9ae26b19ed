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


def test_zero_style_gives_zero_and_a_finite_gradient() -> None:
    styles = torch.zeros(3, 8, requires_grad=True)
    out = modulated_conv2d(X, WEIGHT, styles)
    assert not out.any()
    out.sum().backward()
    assert styles.grad is not None
    assert styles.grad.isfinite().all()


def test_half_precision_stays_finite_and_right_where_plain_half_precision_overflows() -> None:
    x, styles = X * 100, STYLES * 1e4  # 1e6, beyond 65504
    plain = (x * styles[:, :, None, None]).half()
    assert not plain.isfinite().all()
    out = modulated_conv2d(x.half(), WEIGHT, styles)
    assert out.isfinite().all()
    # 11 bits of mantissa, sums of 72 products.
    torch.testing.assert_close(out.float(), modulated_conv2d(x, WEIGHT, styles), rtol=0.01, atol=0.5)


def test_half_precision_has_the_gradients_of_full_precision() -> None:
    grads = []
    for dtype in (torch.float32, torch.float16):
        weight, styles = WEIGHT.clone().requires_grad_(), STYLES.clone().requires_grad_()
        out = modulated_conv2d(X.to(dtype), weight, styles)
        grads.append(torch.autograd.grad((out.float() * X[:, :1]).sum(), [weight, styles]))
    for full, half in zip(*grads, strict=True):
        assert (half - full).norm() < 0.01 * full.norm()  # 11 bits of mantissa


def test_half_precision_bears_a_kernel_and_a_style_of_zeros() -> None:
    weight, styles = WEIGHT.clone(), STYLES.clone()
    weight[0], styles[0] = 0, 0
    out = modulated_conv2d(X.half(), weight, styles)
    assert out.isfinite().all()
    assert not out[0].any()
    assert not out[:, 0].any()
