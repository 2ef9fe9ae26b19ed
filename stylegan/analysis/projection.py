"""From an image back to its styles: projection (Karras et al. 2020, App. D).

`project` yields where the search stands; the caller shows progress, draws frames, and keeps the last step. Random
numbers are a function of (seed, step) and the same for every target, so a result depends on its image and the seed
alone, never on what else is in the batch. N targets, C channels, H W image or map, L = num_ws.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from stylegan.config.modes import MODES
from stylegan.config.pyramid import sides
from stylegan.config.sections import Count, NonNegative, Positive, Probability
from stylegan.config.strict import Section, parse
from stylegan.images import to_float
from stylegan.metrics.evaluation.ppl import lpips_input
from stylegan.metrics.evaluation.sampling import batches, noise_buffers, synthesize_ws
from stylegan.metrics.extractors.lpips import Lpips
from stylegan.networks import Generator

# Independent streams of random numbers.
W_SAMPLES, W_NOISE, MAPS = range(3)
PYRAMID_END = 8  # pixels; noise maps are watched at every resolution down to this one
ADAM_BETAS = (0.9, 0.999)  # "default parameters"


class ProjectionConfig(Section):
    """How the search goes; the published values stand next to each line."""

    space: Literal["w", "w+"]  # one w for all layers (w), or one for each
    optimize_noise: bool  # true; false keeps the generator's own noise maps
    num_steps: Count  # 1000
    learning_rate: Positive  # 0.1, the highest
    lr_rampup: Probability  # 0.05 of the steps, linear
    lr_rampdown: Probability  # 0.25 of the steps, cosine
    w_num_samples: Annotated[int, Field(ge=2)]  # 10000, for mean and spread of w
    w_noise_scale: NonNegative  # 0.05 spreads of w, at the start
    w_noise_ramp: Probability  # 0.75 of the steps have noise in w
    noise_weight: NonNegative  # 1e5, of the noise maps' autocorrelation
    min_resolution: Annotated[int, Field(ge=16)]  # smaller images are enlarged to it before they are compared
    seed: Annotated[int, Field(ge=0)]


def published_search(
    *, space: str, optimize_noise: bool, num_steps: int, learning_rate: float, seed: int
) -> ProjectionConfig:
    """These values, and those of Karras et al. (2020, App. D) for the rest. Raises ConfigError for unfit ones."""
    values = {
        "space": space,
        "optimize_noise": optimize_noise,
        "num_steps": num_steps,
        "learning_rate": learning_rate,
        "lr_rampup": 0.05,
        "lr_rampdown": 0.25,
        "w_num_samples": 10_000,
        "w_noise_scale": 0.05,
        "w_noise_ramp": 0.75,
        "noise_weight": 1e5,
        # Ours; the paper has large images. Enlarging 32 pixels to 64 for VGG16 took three times as long and brought
        # the generator's own images no nearer.
        "min_resolution": 32,
        "seed": seed,
    }
    return parse(ProjectionConfig, values, "projection")


@dataclass(frozen=True)
class Step:
    """Where the search stands after `index` updates."""

    index: int
    ws: Tensor  # [N, L, w_dim]
    noise: Mapping[str, Tensor]  # buffer of the synthesis network -> map [N, 1, H, W]; empty when not optimised
    distance: Tensor  # [N] LPIPS to the targets, of ws with the noise of the search, which has ended at the last step


def project(G: Generator, targets: Tensor, c: Tensor, lpips: Lpips, config: ProjectionConfig) -> Iterator[Step]:
    """Search the styles whose images look most like targets uint8 [N, C, H, W] with labels c [N, c_dim].

    Yields config.num_steps + 1 steps: one before each update, and the result.
    Raises ValueError if the targets do not fit the generator, or the search diverges.
    """
    _check(G, targets, c, config)
    wanted = _embed(lpips, to_float(targets.to(G.mapping.w_avg.device)), config)
    w_mean, w_spread = w_statistics(G, c, config)
    w = w_mean[:, None].repeat(1, G.num_ws if config.space == "w+" else 1, 1).requires_grad_()
    noise = _first_maps(G, len(targets), config.seed) if config.optimize_noise else {}
    searched = [w, *noise.values()]
    optimizer = torch.optim.Adam(searched, lr=config.learning_rate, betas=ADAM_BETAS)
    for index in range(config.num_steps + 1):
        t = index / config.num_steps
        jitter = _normals(config.seed, W_NOISE, index, w.shape[1:]).to(w) * _w_noise(t, w_spread, config)
        with torch.enable_grad():
            img = synthesize_ws(G, (w + jitter).expand(-1, G.num_ws, -1), noise)
            distance = _distance(wanted, _embed(lpips, img, config))
            penalty = sum((noise_penalty(values) for values in noise.values()), torch.zeros_like(distance))
            loss = (distance + config.noise_weight * penalty).sum()
        yield _step(index, G, w, noise, distance)
        if index < config.num_steps:
            optimizer.param_groups[0]["lr"] = learning_rate(t, config)
            for tensor, gradient in zip(searched, torch.autograd.grad(loss, searched), strict=True):
                tensor.grad = gradient
            optimizer.step()
            _normalize_(noise)


def project_batches(
    G: Generator, targets: Tensor, c: Tensor, lpips: Lpips, config: ProjectionConfig, batch_size: int
) -> Iterator[tuple[range, Step]]:
    """`project`, at most batch_size targets at once: yields each step with the rows of the targets it is about."""
    for rows in batches(len(targets), batch_size):
        part = slice(rows.start, rows.stop)
        for step in project(G, targets[part], c[part], lpips, config):
            yield rows, step


@torch.no_grad()
def w_statistics(G: Generator, c: Tensor, config: ProjectionConfig) -> tuple[Tensor, Tensor]:
    """Mean [N, w_dim] and spread [N] of w under each label: the root of the mean squared distance to the mean"""
    z = _normals(config.seed, W_SAMPLES, 0, (config.w_num_samples, G.z_dim)).to(G.mapping.w_avg)
    known: dict[tuple[float, ...], tuple[Tensor, Tensor]] = {}
    for label in c:
        if (key := tuple(label.tolist())) not in known:
            w = G.mapping(z, label.to(z).expand(len(z), -1))[:, 0]
            mean = w.mean(dim=0)
            known[key] = mean, (w - mean).square().sum(dim=1).mean().sqrt()
    means, spreads = zip(*(known[tuple(label.tolist())] for label in c), strict=True)
    return torch.stack(means), torch.stack(spreads)


def noise_penalty(noise: Tensor) -> Tensor:
    """Squared autocorrelation of maps [N, 1, H, W] one pixel down and right, at every resolution to 8  ->  [N]

    Zero for noise, so that no image hides in the maps (Karras et al. 2020, App. D, L_ij summed over j).
    """
    penalty = torch.zeros(len(noise), device=noise.device)
    while True:
        for dim in (2, 3):
            penalty = penalty + (noise * noise.roll(1, dim)).mean(dim=(1, 2, 3)).square()
        if min(noise.shape[2:]) <= PYRAMID_END:
            return penalty
        noise = F.avg_pool2d(noise, 2) * 2  # the mean of four has half the deviation


def learning_rate(t: float, config: ProjectionConfig) -> float:
    """Adam's rate at the fraction t of the steps: a linear rise from zero, and a cosine fall to zero at the end"""
    rise = min(1.0, t / config.lr_rampup) if config.lr_rampup else 1.0
    left = min(1.0, (1 - t) / config.lr_rampdown) if config.lr_rampdown else 1.0
    return config.learning_rate * rise * (1 - math.cos(math.pi * left)) / 2


def distance_input(img: Tensor, min_resolution: int) -> Tensor:
    """Images as LPIPS compares them: RGB, averaged down to 256 pixels, enlarged to at least min_resolution"""
    rgb = lpips_input(img)
    side = min(rgb.shape[2:])
    if side >= min_resolution:
        return rgb
    factor = -(-min_resolution // side)
    return F.interpolate(rgb, scale_factor=factor, mode="bilinear", align_corners=False)


def _w_noise(t: float, w_spread: Tensor, config: ProjectionConfig) -> Tensor:
    """Deviation [N, 1, 1] of the noise in w, which helps to find the global optimum"""
    left = max(0.0, 1 - t / config.w_noise_ramp) if config.w_noise_ramp else 0.0
    return w_spread[:, None, None] * (config.w_noise_scale * left**2)


def _embed(lpips: Lpips, img: Tensor, config: ProjectionConfig) -> list[Tensor]:
    return lpips.embed(distance_input(img, config.min_resolution))


def _distance(wanted: list[Tensor], maps: list[Tensor]) -> Tensor:
    squares = [(a - b).square().sum(dim=(1, 2, 3)) for a, b in zip(wanted, maps, strict=True)]
    return torch.stack(squares).sum(dim=0)


def _first_maps(G: Generator, num: int, seed: int) -> dict[str, Tensor]:
    """Standard normal noise maps in place of every noise_const, the same for each target"""
    maps = {}
    for number, (name, buffer) in enumerate(noise_buffers(G).items()):
        values = _normals(seed, MAPS, number, (1, 1, *buffer.shape[-2:])).to(G.mapping.w_avg)
        maps[name] = values.repeat(num, 1, 1, 1).requires_grad_()
    return maps


@torch.no_grad()
def _normalize_(noise: Mapping[str, Tensor]) -> None:
    """Give every map mean zero and mean square one, which the optimiser would leave"""
    for values in noise.values():
        values -= values.mean(dim=(1, 2, 3), keepdim=True)
        values *= values.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()


def _step(index: int, G: Generator, w: Tensor, noise: Mapping[str, Tensor], distance: Tensor) -> Step:
    if not bool(distance.isfinite().all()):
        raise ValueError(f"projection: the distance is no longer finite after {index} steps. Lower learning_rate.")
    maps = {name: values.detach().clone() for name, values in noise.items()}
    return Step(index, w.detach().repeat(1, G.num_ws // w.shape[1], 1), maps, distance.detach())


def _normals(seed: int, stream: int, index: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers, the same on every device"""
    rng = np.random.default_rng((seed, stream, index))
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))


def _check(G: Generator, targets: Tensor, c: Tensor, config: ProjectionConfig) -> None:
    height, width = sides(G.img_resolution)
    if G.img_channels not in MODES:
        raise ValueError(
            f"this generator draws images of {G.img_channels} channels. Projection needs one of 1 to 4, which LPIPS "
            "sees."
        )
    if targets.dtype != torch.uint8 or list(targets.shape[1:]) != [G.img_channels, height, width]:
        raise ValueError(
            f"projection got targets {targets.dtype} {list(targets.shape)}; this generator needs "
            f"torch.uint8 [N, {G.img_channels}, {height}, {width}]. Crop and resize them first."
        )
    if list(c.shape) != [len(targets), G.c_dim]:
        raise ValueError(f"projection got labels {list(c.shape)}; expected {[len(targets), G.c_dim]}, one per target.")
    if config.optimize_noise and not G.config.use_noise:
        raise ValueError("this generator has no noise maps to optimise (generator.use_noise is false); leave them out.")
