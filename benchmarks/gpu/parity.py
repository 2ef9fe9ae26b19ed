"""How far the device is from independent numbers, in float32 without TF32: a difference for each quantity.

References: what the official implementation computed (tests/parity/data), or this project in fp64 on the processor.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.settings import TINY, config
from benchmarks.workload import workload
from stylegan.augment import AugmentPipe
from stylegan.config.sections import MultipliersConfig
from stylegan.loss import generator_loss, path_length_penalty, r1_penalty
from stylegan.networks import Discriminator, Generator
from stylegan.networks.discriminator import DiscriminatorBlock
from stylegan.official import load_official
from stylegan.ops import bias_act, modulated_conv2d, setup_filter, upfirdn2d

DATA = Path(__file__).parents[2] / "tests/parity/data"
VALUES = 1e-4  # what fp32 on another machine may differ by
GRADIENTS = 5e-3  # one input of a leaky ReLU whose sign rounding changes moves the norm of a gradient by up to 4e-3
FILTERS = 1e-6  # sums of at most 25 terms
NETWORKS = ("uncond_r32", "cond4_r16", "resnetG_skipD_r16", "origG_origD_r16")
PIPES = ("rgb", "gray")
BGC = (
    "xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac",
    "brightness", "contrast", "lumaflip", "hue", "saturation",
)  # fmt: skip
SETS = {"bgc": BGC, "bgcf": (*BGC, "imgfilter")}  # of the official pipe; another name is one transform

Numbers = dict[str, np.ndarray[Any, Any]]
Difference = tuple[
    str, Callable[[], float], float
]  # what, how far relative to the largest value, and how far it may be


def differences(device: torch.device, networks: Sequence[str]) -> Iterator[Difference]:
    """Every comparison, to be made when it is called for"""
    if DATA.is_dir():
        yield "upfirdn2d, 25 official cases", partial(filters, device), FILTERS
        for kind in PIPES:
            yield f"augmentation, official, {kind}", partial(augmentation, device, kind), VALUES
        for name in networks:
            for what, limit in (
                ("values", VALUES),
                *((grad, GRADIENTS) for grad in ("R1", "path length", "G's gradient")),
            ):
                yield f"{name} official, {what}", partial(official, device, name, what), limit
    yield "modulated_conv2d, a loop over images", partial(modulated, device), 1e-5  # sums of 576 terms
    yield "bias_act", partial(activation, device), FILTERS
    for name in ("upfirdn2d", "warp", "whole D with R1"):
        yield f"second derivatives of {name}", partial(second_derivatives, device, name), GRADIENTS


def difference(actual: Tensor, expected: Any) -> float:
    """Largest absolute difference, relative to the largest expected value"""
    values, reference = actual.detach().double().cpu().numpy(), np.asarray(expected, np.float64)
    if values.shape != reference.shape:
        raise ValueError(f"shape {values.shape}, expected {reference.shape}")
    return float(np.abs(values - reference).max() / np.abs(reference).max())


def load(name: str) -> Numbers:
    with np.load(DATA / f"{name}.npz") as file:
        return dict(file)


def filters(device: torch.device) -> float:
    """upfirdn2d: 25 filters, factors, paddings, gains and flips"""
    numbers = load("upfirdn2d")
    x, worst = torch.from_numpy(numbers["x"]).to(device), 0.0
    for i, spec in enumerate(numbers["spec"]):
        *integers, gain, flip = spec.tolist()
        up_x, up_y, down_x, down_y, *padding = (int(number) for number in integers)
        f = setup_filter(torch.from_numpy(numbers[f"f{i}"])).to(device)
        y = upfirdn2d(x, f, (up_x, up_y), (down_x, down_y), padding, gain, flip_filter=bool(flip))
        worst = max(worst, difference(y, numbers[f"y{i}"]))
    return worst


def augmentation(device: torch.device, kind: str) -> float:
    """Every transform, its strength at a percentile"""
    numbers, worst = load(f"augment_{kind}"), 0.0
    images = torch.from_numpy(numbers["images"]).to(device)
    for key in numbers.keys() - {"images"}:
        name, percentile = key.split("@")
        pipe = AugmentPipe.from_multipliers(**dict.fromkeys(SETS.get(name, (name,)), 1.0)).to(device)
        worst = max(worst, difference(pipe(images, p=1.0, percentile=float(percentile)), numbers[key]))
    return worst


def official(device: torch.device, name: str, what: str) -> float:
    """Networks of an official file against what the official implementation computed from it"""
    numbers, loaded = load(name), load_official(DATA / f"{name}.pkl")
    assert loaded.G is not None
    assert loaded.D is not None
    G, D = loaded.G.to(device), loaded.D.to(device)

    def given(key: str) -> Tensor:
        return torch.from_numpy(numbers[key]).to(device)

    net: Discriminator | Generator
    c, ws = given("c"), G.mapping(given("z"), given("c"))
    if what == "values":
        img = G.synthesis(ws, noise_mode="const")
        pairs = ((ws, "ws"), (img, "img_const"), (D(given("real"), c), "logits_real"))
        return max(difference(actual, numbers[key]) for actual, key in pairs)
    if what == "R1":
        real = given("real").requires_grad_()
        penalty, norms, net, weight = r1_penalty(D(real, c), real), "r1_param_grad", D, 3.0 / 2  # gamma = 3
        first = difference(penalty, numbers["r1_penalty"])
    elif what == "path length":
        mean, noise = given("pl_mean_before"), given("pl_noise")
        penalty, mean = path_length_penalty(G.synthesis(ws, noise_mode="const"), ws, mean, 0.01, noise)
        norms, net, weight = "pl_param_grad", G, 2.0
        first = max(difference(mean, numbers["pl_mean_after"]), difference(penalty, numbers["pl_penalty"]))
    else:
        penalty, norms, net, weight = generator_loss(D(G.synthesis(ws, noise_mode="const"), c)), "gmain_grad", G, 1.0
        first = difference(penalty.mean(), numbers["gmain_loss"])
    (penalty.mean() * weight).backward()
    found = {key: param.grad for key, param in net.named_parameters()}
    grads = [found[key] for key in numbers[f"{norms}_names"]]
    sizes = torch.stack([torch.zeros([]) if grad is None else grad.norm().cpu() for grad in grads])
    return max(first, difference(sizes, numbers[f"{norms}_norms"]))


def modulated(device: torch.device) -> float:
    """One image and one explicit kernel at a time (Karras et al. 2020, Eq. 1-3), in fp64"""
    generator = torch.Generator().manual_seed(0)
    x, weight, styles = (
        torch.randn(shape, generator=generator) for shape in ((3, 64, 33, 20), (48, 64, 3, 3), (3, 64))
    )
    expected = []
    for image, style in zip(x.double(), styles.double(), strict=True):
        kernel = weight.double() * style[:, None, None]
        kernel = kernel / (kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected.append(F.conv2d(image[None], kernel, padding=1)[0])
    actual = modulated_conv2d(x.to(device), weight.to(device), styles.to(device))
    return difference(actual, torch.stack(expected).numpy())


def activation(device: torch.device) -> float:
    """Bias, leaky ReLU, gain, clamp, in fp64"""
    generator = torch.Generator().manual_seed(0)
    x, bias = torch.randn(4, 16, 9, 7, generator=generator), torch.randn(16, generator=generator)
    expected = (F.leaky_relu(x.double() + bias.double()[:, None, None], 0.2) * 2**0.5).clamp(-1.5, 1.5)
    return difference(bias_act(x.to(device), bias.to(device), "lrelu", gain=2**0.5, clamp=1.5), expected.numpy())


def second_derivatives(device: torch.device, name: str) -> float:
    """Gradients of a squared gradient on the device in fp32, against fp64 on the processor"""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, TINY, TINY, generator=generator)

    def twice(place: torch.device, dtype: torch.dtype) -> Tensor:
        function = _function(name, place, dtype)
        img = x.to(place, dtype).requires_grad_()
        (grad,) = torch.autograd.grad(function(img).square().sum(), img, create_graph=True)
        (second,) = torch.autograd.grad(grad.square().sum(), img)
        return second

    return difference(twice(device, torch.float32), twice(torch.device("cpu"), torch.float64).numpy())


def _function(name: str, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    if name == "upfirdn2d":
        f = setup_filter([1.0, 3.0, 3.0, 1.0]).to(device, dtype)
        return lambda img: upfirdn2d(img, f, up=2, padding=(2, 1, 2, 1), gain=4)
    if name == "warp":
        pipe = AugmentPipe.from_multipliers(**dict.fromkeys(MultipliersConfig.model_fields, 0.0) | {"rotate": 1.0})
        return lambda img: pipe.to(device)(img, p=1.0, percentile=0.7)
    D = workload(config(TINY, 4, "fp32", kernels="auto"), torch.device("cpu")).trainer.state.D
    for module in D.modules():
        if isinstance(module, DiscriminatorBlock):
            module.dtype = dtype
    D = D.to(device, dtype)
    return lambda img: D(img, img.new_zeros(len(img), 0))
