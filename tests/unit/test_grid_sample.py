"""stylegan.ops.grid_sample: torch's bilinear sampling, with derivatives of its own."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from stylegan.ops import grid_sample

SHAPES = [(2, 3, 8, 8, 5, 7), (1, 1, 5, 7, 3, 3), (4, 3, 33, 17, 16, 40), (2, 3, 1, 1, 4, 4), (0, 3, 4, 4, 2, 2)]


def stock(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def example(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Images and a grid that reaches beyond their border"""
    n, c, h, w, grid_h, grid_w = shape
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n, c, h, w, generator=generator, dtype=dtype, requires_grad=True)
    return images, torch.rand(n, grid_h, grid_w, 2, generator=generator, dtype=dtype) * 2.4 - 1.2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_torchs_to_the_bit(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    images, grid = example(*shape)
    images = images.detach().contiguous(memory_format=layout).requires_grad_()
    ours, theirs = grid_sample(images, grid), stock(images, grid)
    assert torch.equal(ours, theirs)
    weights = torch.randn(ours.shape)
    assert torch.equal(*(torch.autograd.grad(out, images, weights)[0] for out in (ours, theirs)))


def test_third_derivative_equals_that_of_the_same_product_of_matrices() -> None:
    images, grid = example(1, 1, 4, 5, 3, 6, dtype=torch.float64)
    basis = torch.eye(20, dtype=torch.float64).view(20, 1, 4, 5)
    matrix = grid_sample(basis, grid.expand(20, -1, -1, -1)).view(20, 18)
    made = [(grid_sample(images, grid) ** 4).sum(), ((images.view(1, 20) @ matrix) ** 4).sum()]
    for _ in range(3):
        made = [torch.autograd.grad(value, images, create_graph=True)[0].pow(2).sum() for value in made]
        torch.testing.assert_close(*made)  # fp64 sums in another order
        assert made[0] > 0


class Calls(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def nodes(out: Tensor) -> set[str]:
    """Names of all nodes of the graph that made it"""
    found, todo = set(), [out.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return {node.name() for node in found}


def test_no_derivative_of_torchs_own_backward_is_asked_for() -> None:
    """torch 2.11 has none"""
    images, grid = example(*SHAPES[0])
    (theirs,) = torch.autograd.grad(stock(images, grid).square().sum(), images, create_graph=True)
    assert any("GridSampler2DBackward" in name for name in nodes(theirs))  # the check sees it
    (grad,) = torch.autograd.grad(grid_sample(images, grid).square().sum(), images, create_graph=True)
    assert not any("GridSampler" in name for name in nodes(grad))
    with Calls() as calls:
        grad.square().sum().backward()
    assert images.grad is not None
    assert [name for name in calls.names if "grid_sampler" in name] == [
        "aten.grid_sampler_2d.default",
        "aten.grid_sampler_2d_backward.default",
    ]


def test_images_are_not_kept_for_the_gradient() -> None:
    images, grid = example(*SHAPES[0])
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        grid_sample(images, grid)
    assert [tensor.shape for tensor in kept] == [grid.shape]


def test_shapes_on_meta_tensors() -> None:
    images, grid = torch.empty(2, 3, 8, 6, device="meta", requires_grad=True), torch.empty(2, 5, 7, 2, device="meta")
    out = grid_sample(images, grid)
    (grad,) = torch.autograd.grad(out.square().sum(), images, create_graph=True)
    grad.square().sum().backward()
    assert images.grad is not None
    assert (out.shape, grad.shape, images.grad.shape) == ((2, 3, 5, 7), images.shape, images.shape)


def test_grid_that_wants_a_gradient_is_refused() -> None:
    images, grid = example(*SHAPES[0])
    message = "^grid_sample gives its grid no gradient; pass grid.detach\\(\\) or use F.grid_sample$"
    with pytest.raises(ValueError, match=message):
        grid_sample(images, grid.requires_grad_())
