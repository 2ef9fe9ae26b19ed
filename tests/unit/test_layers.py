"""stylegan.networks.layers: equalised learning rate, the mapping network, and channel arithmetic."""

import math

import pytest
import torch

from stylegan.networks.layers import (
    Conv2dLayer,
    FullyConnected,
    MappingNetwork,
    channels_at,
    dtype_at,
    normalize_2nd_moment,
)


def test_channels_halve_with_resolution_up_to_a_maximum() -> None:
    assert [channels_at(res, 16384, 512) for res in (4, 32, 64, 256)] == [512, 512, 256, 64]


@pytest.mark.parametrize(
    ("img_resolution", "reduced"),
    [(1024, {128, 256, 512, 1024}), (64, {8, 16, 32, 64}), (32, {8, 16, 32}), (8, {8}), (4, set())],
)
def test_four_highest_resolutions_are_reduced_but_never_below_8(img_resolution: int, reduced: set[int]) -> None:
    resolutions = [2**i for i in range(2, img_resolution.bit_length())]
    found = {res for res in resolutions if dtype_at(res, img_resolution, torch.bfloat16) == torch.bfloat16}
    assert found == reduced


def test_second_moment_becomes_one() -> None:
    x = normalize_2nd_moment(torch.randn(3, 16) * torch.tensor([[0.1], [1.0], [100.0]]))
    torch.testing.assert_close(x.square().mean(dim=1), torch.ones(3), rtol=1e-5, atol=1e-5)
    assert normalize_2nd_moment(torch.zeros(1, 4)).isfinite().all()


@pytest.mark.parametrize("lr_multiplier", [1.0, 0.01])
def test_learning_rate_multiplier_divides_the_stored_weight_and_multiplies_it_back(lr_multiplier: float) -> None:
    torch.manual_seed(0)
    layer = FullyConnected(256, 64, "linear", lr_multiplier=lr_multiplier, bias_init=1)
    assert layer.weight.std().item() * lr_multiplier == pytest.approx(
        1, rel=0.02
    )  # 16384 samples: good to half a percent
    assert torch.equal(layer.bias, torch.full((64,), 1 / lr_multiplier))
    x = torch.randn(512, 256)
    out = layer(x)
    torch.testing.assert_close(
        out, x @ layer.weight.t() * lr_multiplier / 16 + 1, rtol=1e-4, atol=1e-4  # fp32 sums of 256 terms
    )  # fmt: skip
    assert (out - 1).std().item() == pytest.approx(1, rel=0.05)


def test_layers_keep_the_variance_of_a_unit_normal_input() -> None:
    torch.manual_seed(0)
    # E[lrelu(x)^2] = (1 + 0.2^2) / 2, times the gain squared.
    expected = math.sqrt(1.04)
    rms = FullyConnected(256, 256, "lrelu")(torch.randn(256, 256)).square().mean().sqrt()
    assert rms.item() == pytest.approx(expected, rel=0.05)
    x = torch.randn(4, 32, 32, 32)
    rms = Conv2dLayer(32, 32, 3, "lrelu")(x)[..., 1:-1, 1:-1].square().mean().sqrt()
    assert rms.item() == pytest.approx(expected, rel=0.1)


def test_clamp_follows_the_gain() -> None:
    layer = Conv2dLayer(1, 1, 1, "lrelu", clamp=2.0)
    img = torch.full((1, 1, 1, 1), 1e6)
    assert abs(layer(img).item()) == 2
    assert abs(layer(img, gain=0.5).item()) == 1


def test_convolution_without_bias_has_none() -> None:
    assert {name for name, _ in Conv2dLayer(2, 3, 1, "linear", bias=False, up=2).named_parameters()} == {"weight"}


def mapping(c_dim: int = 0, z_dim: int = 8, average: bool = True) -> MappingNetwork:
    torch.manual_seed(0)
    return MappingNetwork(z_dim, c_dim, 6, 5, 2, 0.01, average=average)


def test_every_layer_receives_the_same_style() -> None:
    ws = mapping()(torch.randn(3, 8), torch.zeros(3, 0))
    assert ws.shape == (3, 5, 6)
    assert torch.equal(ws, ws[:, :1].expand(-1, 5, -1))


def test_style_does_not_depend_on_the_length_of_the_latent() -> None:
    net, z = mapping(), torch.randn(3, 8)
    torch.testing.assert_close(net(z * 10, torch.zeros(3, 0)), net(z, torch.zeros(3, 0)))


def test_label_changes_the_style() -> None:
    net, z, c = mapping(c_dim=3), torch.randn(1, 8), torch.eye(3)
    ws = net(z.expand(3, -1), c)[:, 0]
    assert ((ws[0] - ws[1]).norm() > 0.1) & ((ws[1] - ws[2]).norm() > 0.1)


def test_mapping_without_latents_embeds_labels_alone() -> None:
    net = MappingNetwork(0, 3, 6, 0, 2, 0.01, average=False)
    assert net(None, torch.eye(3)).shape == (3, 6)
    assert not hasattr(net, "w_avg")


@pytest.mark.parametrize("training", [True, False])
def test_forward_leaves_the_mean_style_alone(training: bool) -> None:
    net = mapping().train(training)
    net(torch.randn(3, 8), torch.zeros(3, 0))
    assert torch.equal(net.w_avg, torch.zeros(6))


def test_mean_style_is_tracked_when_asked() -> None:
    net = mapping()
    net.w_avg.fill_(1)
    net.track_w_avg(torch.arange(6.0), beta=0.75)
    torch.testing.assert_close(net.w_avg, 0.75 + 0.25 * torch.arange(6.0))
