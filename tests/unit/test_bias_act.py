"""stylegan.ops.bias_act: bias, activation, gain and clamp, in this order."""

import torch

from stylegan.ops import bias_act


def test_bias_goes_to_its_channel() -> None:
    out = bias_act(torch.zeros(2, 3, 1, 1), torch.tensor([1.0, 2.0, 3.0]), "linear")
    assert torch.equal(out[:, :, 0, 0], torch.tensor([[1.0, 2, 3]] * 2))
    assert torch.equal(bias_act(torch.zeros(2, 3), torch.tensor([1.0, 2.0, 3.0]), "linear"), out[:, :, 0, 0])


def test_leaky_relu_has_slope_one_fifth() -> None:
    out = bias_act(torch.tensor([[-10.0, 0.0, 10.0]]), None, "lrelu")
    assert torch.equal(out, torch.tensor([[-2.0, 0.0, 10.0]]))


def test_order_is_bias_activation_gain_clamp() -> None:
    # (-3 + 1) * 0.2 * 10 = -4, clamped to -3; any other order gives another number.
    out = bias_act(torch.tensor([[-3.0], [5.0]]), torch.tensor([1.0]), "lrelu", gain=10.0, clamp=3.0)
    assert torch.equal(out, torch.tensor([[-3.0], [3.0]]))
    unclamped = bias_act(torch.tensor([[-3.0]]), torch.tensor([1.0]), "lrelu", gain=10.0)
    torch.testing.assert_close(unclamped, torch.tensor([[-4.0]]))


def test_bias_takes_the_precision_of_the_input() -> None:
    assert bias_act(torch.zeros(1, 2, dtype=torch.bfloat16), torch.ones(2), "lrelu").dtype == torch.bfloat16
