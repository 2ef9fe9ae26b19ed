"""stylegan.loss: values that can be worked out by hand."""

import math

import torch

from stylegan.loss import (
    adversarial,
    between,
    discriminator_gen_loss,
    discriminator_real_loss,
    generator_loss,
    gradient_penalty,
    path_length_penalty,
    r1_penalty,
)

LOGITS = torch.tensor([[0.0], [3.0], [-3.0], [100.0]])


def test_losses_are_minus_log_sigmoid() -> None:
    p = torch.sigmoid(LOGITS[:3].double())
    torch.testing.assert_close(generator_loss(LOGITS[:3]).double(), -p.log()[:, 0])
    torch.testing.assert_close(discriminator_real_loss(LOGITS[:3]).double(), -p.log()[:, 0])
    torch.testing.assert_close(discriminator_gen_loss(LOGITS[:3]).double(), -(1 - p).log()[:, 0])


def test_losses_of_a_certain_discriminator_stay_finite() -> None:
    assert discriminator_gen_loss(LOGITS)[3] == 100
    assert generator_loss(-LOGITS)[3] == 100
    assert generator_loss(LOGITS).shape == (4,)


def test_wasserstein_losses_are_differences_of_logits_and_a_drift_of_real_ones() -> None:
    losses, logits = adversarial("wgan_gp", drift_weight=0.5), torch.tensor([[-2.0], [0.0], [3.0]])
    assert losses.generator(logits).tolist() == [2, 0, -3]
    assert losses.gen(logits).tolist() == [-2, 0, 3]
    assert losses.real(logits).tolist() == [4, 0, 1.5]  # 0.5 * 4 + 2, 0, 0.5 * 9 - 3


def test_points_between_lie_on_the_segment_of_each_pair_and_anywhere_on_it() -> None:
    real_img, gen_img = torch.randn(300, 3, 4, 4), torch.randn(300, 3, 4, 4)
    share = (between(real_img, gen_img) - real_img) / (gen_img - real_img)
    u = share.flatten(1).median(dim=1).values
    torch.testing.assert_close(between(real_img, real_img), real_img)
    torch.testing.assert_close(share, u[:, None, None, None].expand_as(share), atol=1e-2, rtol=0)  # near ends
    assert 0 <= u.min() < 0.05
    assert 0.95 < u.max() <= 1


def test_gradient_penalty_of_a_linear_discriminator_is_how_far_the_norm_of_its_weights_is_from_1() -> None:
    img, weights = torch.randn(3, 2, 4, 4, requires_grad=True), torch.randn(2, 4, 4)
    logits = (img * weights).sum(dim=(1, 2, 3))[:, None]
    torch.testing.assert_close(gradient_penalty(logits, img), (weights.norm() - 1).square().expand(3))


def test_gradient_penalty_can_be_differentiated_by_the_weights_even_where_the_gradient_is_zero() -> None:
    img = torch.randn(2, 1, 2, 2, requires_grad=True)
    for start, slope in ((2.0, 12.0), (0.0, 0.0)):  # norm 2 w, penalty (2 w - 1)^2
        weight = torch.tensor(start, requires_grad=True)
        penalty = gradient_penalty((weight * img).sum(dim=(1, 2, 3))[:, None], img)
        penalty.mean().backward()
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, torch.tensor(slope))


def test_r1_of_a_linear_discriminator_is_the_squared_norm_of_its_weights() -> None:
    img = torch.randn(3, 2, 4, 4, requires_grad=True)
    weights = torch.randn(2, 4, 4)
    logits = (img * weights).sum(dim=(1, 2, 3))[:, None]
    torch.testing.assert_close(r1_penalty(logits, img), weights.square().sum().expand(3))


def test_r1_can_be_differentiated_by_the_weights() -> None:
    img = torch.randn(3, 1, 2, 2, requires_grad=True)
    weight = torch.tensor(2.0, requires_grad=True)
    penalty = r1_penalty((weight * img).sum(dim=(1, 2, 3))[:, None], img)  # 4 weight^2 each
    penalty.mean().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, torch.tensor(16.0))


def linear_generator(scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """img = scale * w for 4 pixels and 2 layers of 4, each layer counting half  -> img [1, 1, 2, 2], ws [1, 2, 4]"""
    ws = torch.randn(1, 2, 4, requires_grad=True)
    return (scale * ws.mean(dim=1)).reshape(1, 1, 2, 2), ws


def test_path_length_of_a_linear_generator() -> None:
    img, ws = linear_generator(torch.tensor(3.0))
    penalty, mean = path_length_penalty(img, ws, torch.tensor(1.0), pl_decay=0.5, noise=torch.ones(1, 1, 2, 2))
    # The gradient of each of the 8 styles is 3 / 2; squared, summed over 4 and averaged over 2 layers: 9; root: 3.
    assert mean == 2  # halfway from 1 to 3
    assert penalty == 1  # (3 - 2)^2


def test_noise_has_unit_norm_on_average_whatever_the_size() -> None:
    torch.manual_seed(0)
    lengths = []
    for size in (4, 32):
        ws = torch.zeros(64, 1, size * size, requires_grad=True)
        img = ws.reshape(64, 1, size, size) * 1.0  # J = identity, so the length is the norm of the noise
        lengths.append(path_length_penalty(img, ws, torch.tensor(0.0), pl_decay=1.0)[1].item())
    # Norms of N(0, 1 / HW) in HW dimensions: 1 - 1 / (4 HW), to 0.02 with 64 draws of 16 values.
    assert all(math.isclose(length, 1, abs_tol=0.06) for length in lengths)


def test_gradient_of_the_penalty_flows_through_the_newest_mean_and_the_returned_mean_is_detached() -> None:
    scale = torch.tensor(3.0, requires_grad=True)
    img, ws = linear_generator(scale)
    penalty, mean = path_length_penalty(img, ws, torch.tensor(1.0), pl_decay=0.25, noise=torch.ones(1, 1, 2, 2))
    assert not mean.requires_grad
    penalty.sum().backward()
    # Length s, new mean 0.75 + 0.25 s: d (0.75 s - 0.75)^2 / ds = 2 * 1.5 * 0.75.
    assert scale.grad is not None
    torch.testing.assert_close(scale.grad, torch.tensor(2.25))
