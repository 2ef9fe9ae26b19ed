"""An image is made and judged alone, whatever else is in its batch; only D's minibatch groups look at one another."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipelines.params import Params
from stylegan.networks import Discriminator, Generator
from stylegan.networks.discriminator import DiscriminatorBlock
from stylegan.networks.generator import SynthesisBlock, SynthesisLayer

Make = Callable[..., Params]
ARCHITECTURES = ["orig", "skip", "resnet"]
CLOSE: Any = {"rtol": 1e-9, "atol": 1e-9}  # fp64 sums in another order; batches are blocked by their size
GROUPS, GROUP_SIZE = 3, 2


@pytest.fixture(autouse=True)
def float_is_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks cast to fp32 on purpose; here everything is fp64, so that a difference is no rounding."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)


def double(net: nn.Module) -> Any:
    for module in net.modules():
        if isinstance(module, SynthesisBlock | DiscriminatorBlock):
            module.dtype = torch.float64
        if isinstance(module, SynthesisLayer):
            module.noise_strength.data.fill_(0.5)
    return net.double().requires_grad_(False)


def make_g(params: Params, architecture: str) -> Generator:
    torch.manual_seed(0)
    config = params.generator.model_copy(update={"architecture": architecture})
    G: Generator = double(Generator(config, img_resolution=16, img_channels=3, c_dim=2))
    return G


def make_d(params: Params, architecture: str) -> Discriminator:
    torch.manual_seed(0)
    update = {"architecture": architecture, "mbstd_group_size": GROUP_SIZE}
    config = params.discriminator.model_copy(update=update)
    D: Discriminator = double(Discriminator(config, img_resolution=16, img_channels=3, c_dim=2))
    return D


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_permuting_or_thinning_the_batch_permutes_or_thins_the_images(architecture: str, tiny_params: Params) -> None:
    G = make_g(tiny_params, architecture)

    @settings(max_examples=20)
    @given(st.integers(0, 2**31), st.lists(st.integers(0, 4), min_size=1, max_size=5))
    def law(seed: int, kept: list[int]) -> None:
        z, c = draw(seed, 5, 8), torch.eye(2, dtype=torch.float64)[[0, 1, 0, 1, 1]]
        together = G(z, c, noise_mode="const")
        torch.testing.assert_close(G(z[kept], c[kept], noise_mode="const"), together[kept], **CLOSE)

    law()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_image_of_the_generator_has_no_gradient_at_other_latents(architecture: str, tiny_params: Params) -> None:
    G = make_g(tiny_params, architecture)
    z, c = draw(0, 4, 8).requires_grad_(), torch.eye(2, dtype=torch.float64)[[0, 1, 0, 1]]
    (grad,) = torch.autograd.grad(G(z, c, noise_mode="random")[2].square().sum(), z)
    assert [bool(row.any()) for row in grad] == [False, False, True, False]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_logit_has_gradients_at_the_images_of_its_group_and_no_other(architecture: str, tiny_params: Params) -> None:
    D = make_d(tiny_params, architecture)
    img = draw(0, GROUPS * GROUP_SIZE, 3, 16, 16).requires_grad_()
    c = torch.eye(2, dtype=torch.float64)[[0, 1] * 3]
    logits = D(img, c)[:, 0]
    for n in range(len(img)):
        (grad,) = torch.autograd.grad(logits[n], img, retain_graph=True)
        group = [bool(image.any()) for image in grad]
        assert group == [m % GROUPS == n % GROUPS for m in range(len(img))]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_exchanging_groups_exchanges_their_logits(architecture: str, tiny_params: Params) -> None:
    D = make_d(tiny_params, architecture)

    @settings(max_examples=20)
    @given(st.integers(0, 2**31), st.permutations(range(GROUPS)), st.booleans())
    def law(seed: int, groups: list[int], members: bool) -> None:
        img = draw(seed, GROUPS * GROUP_SIZE, 3, 16, 16)
        c = torch.eye(2, dtype=torch.float64)[torch.arange(len(img)) % 2]
        order = torch.arange(len(img)).reshape(GROUP_SIZE, GROUPS)[:, groups]  # of column g is group g
        order = (order.flip(0) if members else order).flatten()
        torch.testing.assert_close(D(img[order], c[order]), D(img, c)[order], **CLOSE)

    law()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_other_groups_may_be_missing(architecture: str, tiny_params: Params) -> None:
    D = make_d(tiny_params, architecture)
    img, c = draw(0, GROUPS * GROUP_SIZE, 3, 16, 16), torch.eye(2, dtype=torch.float64)[[0, 1] * 3]
    together = D(img, c)
    for group in range(GROUPS):
        torch.testing.assert_close(D(img[group::GROUPS], c[group::GROUPS]), together[group::GROUPS], **CLOSE)
