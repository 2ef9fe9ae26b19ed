"""Projection: the search finds what the generator can draw, and each target alone decides its result."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipelines.params import Params
from stylegan.analysis.projection import (
    ProjectionConfig,
    Step,
    distance_input,
    learning_rate,
    noise_penalty,
    project,
    project_batches,
    w_statistics,
)
from stylegan.config.sections import GeneratorConfig
from stylegan.config.strict import parse
from stylegan.drawing.generate import generate_images, styles
from stylegan.images import to_float
from stylegan.metrics.evaluation.sampling import synthesize_ws
from stylegan.metrics.extractors.lpips import Lpips, load_lpips
from stylegan.networks import Generator

SHORT = {
    "space": "w", "optimize_noise": False, "num_steps": 8, "learning_rate": 0.1, "lr_rampup": 0.05,
    "lr_rampdown": 0.25, "w_num_samples": 100, "w_noise_scale": 0.05, "w_noise_ramp": 0.75, "noise_weight": 1e5,
    "min_resolution": 16, "seed": 0,
}  # fmt: skip


def config(**changes: object) -> ProjectionConfig:
    return parse(ProjectionConfig, SHORT | changes, "test")


def build(section: GeneratorConfig, *, channels: int = 3, c_dim: int = 0) -> Generator:
    torch.manual_seed(0)
    G = Generator(section, img_resolution=16, img_channels=channels, c_dim=c_dim).eval()
    # A fresh network has no noise, and draws far outside [-1, 1], where its pictures are clipped.
    for name, parameter in G.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.3)
        elif "torgb" in name and "affine" not in name:
            parameter.data.mul_(0.12)
    return G


@pytest.fixture(scope="module", name="G")
def unconditional(tiny_params: Params) -> Generator:
    return build(tiny_params.generator)


@pytest.fixture(scope="module")
def lpips() -> Lpips:
    return load_lpips("random", Path("none"))


@pytest.fixture(scope="module")
def targets(G: Generator) -> Tensor:
    return generate_images(G, [5, 6, 7], psi=1, batch_size=3)


@pytest.fixture(scope="module")
def search(G: Generator, targets: Tensor, lpips: Lpips) -> Callable[..., list[Step]]:
    """search(rows, ...) -> all steps for these targets"""

    def run(rows: list[int], **changes: object) -> list[Step]:
        return list(project(G, targets[rows], torch.zeros(len(rows), 0), lpips, config(**changes)))

    return run


def test_the_search_draws_the_generators_own_pictures_again(
    G: Generator, targets: Tensor, search: Callable[..., list[Step]]
) -> None:
    steps = search([0, 1, 2], num_steps=60)
    assert steps[-1].distance.mean() < 0.2 * steps[0].distance.mean()
    start, end = ((synthesize_ws(G, step.ws, {}) - to_float(targets)).square().mean() for step in (steps[0], steps[-1]))
    assert end < 0.6 * start  # the pixels agree too, which the search does not look at


def test_the_search_starts_at_the_mean_style(G: Generator, search: Callable[..., list[Step]]) -> None:
    mean, _ = w_statistics(G, torch.zeros(1, 0), config())
    assert torch.equal(search([0])[0].ws, mean[:, None].repeat(1, G.num_ws, 1))


@pytest.mark.parametrize("space", ["w", "w+"])
def test_the_result_is_the_same_alone_and_in_a_batch(search: Callable[..., list[Step]], space: str) -> None:
    together = search([0, 1, 2], space=space, optimize_noise=True)[-1]
    alone = search([2], space=space, optimize_noise=True)[-1]
    # Sums of other batch sizes run in another order; Adam's steps of 0.1 would make a real dependence far larger.
    torch.testing.assert_close(together.ws[2:], alone.ws, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(together.distance[2:], alone.distance, atol=1e-4, rtol=1e-3)
    for name, maps in together.noise.items():
        torch.testing.assert_close(maps[2:], alone.noise[name], atol=1e-2, rtol=1e-2)


def test_equal_seeds_repeat_bit_for_bit_whatever_was_drawn_before(search: Callable[..., list[Step]]) -> None:
    first = search([0], optimize_noise=True)[-1]
    torch.manual_seed(99)
    before = torch.get_rng_state()
    second = search([0], optimize_noise=True)[-1]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.ws, second.ws)
    assert all(torch.equal(first.noise[name], second.noise[name]) for name in first.noise)


def test_batches_yield_the_steps_of_their_rows(
    G: Generator, targets: Tensor, lpips: Lpips, search: Callable[..., list[Step]]
) -> None:
    found = list(project_batches(G, targets, torch.zeros(3, 0), lpips, config(num_steps=1), 2))
    assert [(rows, step.index) for rows, step in found] == [
        (range(0, 2), 0), (range(0, 2), 1), (range(2, 3), 0), (range(2, 3), 1)
    ]  # fmt: skip
    assert torch.equal(found[-1][1].ws, search([2], num_steps=1)[-1].ws)


def test_w_is_one_vector_and_w_plus_one_a_layer(search: Callable[..., list[Step]]) -> None:
    w, w_plus = search([0])[-1].ws, search([0], space="w+")[-1].ws
    assert torch.equal(w, w[:, :1].expand_as(w))
    assert all((w_plus[:, layer] != w_plus[:, 0]).any() for layer in range(1, w_plus.shape[1]))


@pytest.mark.parametrize("optimize_noise", [False, True])
def test_the_last_distance_is_that_of_the_result(
    G: Generator, targets: Tensor, lpips: Lpips, search: Callable[..., list[Step]], optimize_noise: bool
) -> None:
    first, *_, last = search([0, 1], optimize_noise=optimize_noise)
    with torch.no_grad():
        start, end = (lpips(synthesize_ws(G, step.ws, step.noise), to_float(targets[:2])) for step in (first, last))
    torch.testing.assert_close(last.distance, end)
    assert not torch.allclose(first.distance, start)  # there the search shakes w


def test_without_maps_a_picture_has_the_generators_own_noise(G: Generator) -> None:
    ws = styles(G, [1])
    assert torch.equal(synthesize_ws(G, ws, {}), G.synthesis(ws, noise_mode="const"))


def test_every_target_has_its_own_normalised_maps(search: Callable[..., list[Step]], G: Generator) -> None:
    # Without the penalty the maps of two targets go different ways.
    for step in search([0, 1], optimize_noise=True, num_steps=6, noise_weight=0.0)[1:]:
        for name, maps in step.noise.items():
            assert maps.shape == (2, 1, *G.synthesis.get_buffer(name).shape)
            torch.testing.assert_close(maps.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
            torch.testing.assert_close(maps.square().mean(dim=(1, 2, 3)), torch.ones(2))
    assert all(not torch.equal(maps[0], maps[1]) for maps in step.noise.values())


def test_the_generator_is_left_as_it_was(G: Generator, targets: Tensor, lpips: Lpips) -> None:
    before = {name: tensor.clone() for name, tensor in G.state_dict().items()}
    G.requires_grad_(True)
    list(project(G, targets, torch.zeros(3, 0), lpips, config(num_steps=2, optimize_noise=True)))
    assert all(parameter.grad is None for parameter in G.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in G.state_dict().items())


def test_the_search_works_where_gradients_are_off(search: Callable[..., list[Step]]) -> None:
    with torch.no_grad():
        steps = search([0])
    assert torch.equal(steps[-1].ws, search([0])[-1].ws)


# min_resolution matters from 17 on, ramps only when they move a step of eight.
@pytest.mark.parametrize(
    ("name", "value"),
    [("space", "w+"), ("optimize_noise", False), ("num_steps", 9), ("learning_rate", 0.05), ("lr_rampup", 0.5),
     ("lr_rampdown", 0.9), ("w_num_samples", 50), ("w_noise_scale", 0.5), ("w_noise_ramp", 0.2), ("noise_weight", 0.0),
     ("min_resolution", 17), ("seed", 1)],
)  # fmt: skip
def test_every_parameter_matters(search: Callable[..., list[Step]], name: str, value: object) -> None:
    usual = search([0], optimize_noise=True)[-1].distance
    assert not torch.equal(search([0], **({"optimize_noise": True} | {name: value}))[-1].distance, usual)


def test_every_parameter_is_changed_by_the_test_above() -> None:
    marks = test_every_parameter_matters.pytestmark  # type: ignore[attr-defined]
    assert {name for name, _ in marks[0].args[1]} == set(ProjectionConfig.model_fields)


def test_the_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    rates = [learning_rate(t, config()) for t in (0, 0.025, 0.05, 0.5, 0.75, 0.875, 1)]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.1, 0.1, 0.05, 0])


def test_spread_is_the_root_mean_squared_distance_to_the_mean(G: Generator) -> None:
    mean, spread = w_statistics(G, torch.zeros(2, 0), config(w_num_samples=20_000))
    with torch.no_grad():
        w = G.mapping(torch.randn(20_000, G.z_dim), torch.zeros(20_000, 0))[:, 0]
    # Other samples of the same distribution: a mean of 20,000 is good to a hundredth or so of the spread.
    assert (mean - w.mean(dim=0)).norm(dim=1).max() < 0.03 * spread[0]
    assert spread[0] == pytest.approx(float(w.var(dim=0).sum().sqrt()), rel=0.03)
    assert torch.equal(mean[0], mean[1])


def test_each_target_starts_from_the_mean_of_its_label(tiny_params: Params) -> None:
    G = build(tiny_params.generator, c_dim=2)
    mean, spread = w_statistics(G, torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), config())
    assert torch.equal(mean[0], mean[2])
    assert not torch.allclose(mean[0], mean[1])
    assert spread[0] != spread[1]


def brute_force_penalty(noise: Tensor) -> float:
    """L_ij of Karras et al. 2020, App. D, by loops, summed over j"""
    total, r = 0.0, len(noise)
    across = sum(noise[y][x] * noise[y][x - 1] for y in range(r) for x in range(r)) / r**2
    down = sum(noise[y][x] * noise[y - 1][x] for y in range(r) for x in range(r)) / r**2
    total = float(across) ** 2 + float(down) ** 2
    if r > 8:
        half = torch.tensor([[noise[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].sum() / 2 for x in range(r // 2)]
                             for y in range(r // 2)])  # fmt: skip
        total += brute_force_penalty(half)
    return total


@pytest.mark.parametrize("side", [4, 8, 32])
def test_the_noise_penalty_is_that_of_the_paper(side: int) -> None:
    noise = torch.randn(2, 1, side, side)
    expected = torch.tensor([brute_force_penalty(noise[i, 0]) for i in range(2)])
    torch.testing.assert_close(noise_penalty(noise), expected)


def test_a_picture_in_the_noise_is_penalised() -> None:
    smooth = torch.linspace(-1.7, 1.7, 64).expand(1, 1, 64, 64)  # mean 0, mean square 1
    assert noise_penalty(smooth) > 100 * noise_penalty(torch.randn(1, 1, 64, 64))


@pytest.mark.parametrize(("side", "seen"), [(8, 32), (16, 32), (32, 32), (64, 64), (512, 256)])
def test_pictures_are_compared_at_32_to_256_pixels(side: int, seen: int) -> None:
    assert distance_input(torch.zeros(1, 1, side, side), 32).shape == (1, 3, seen, seen)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_pictures_are_found(tiny_params: Params, lpips: Lpips, channels: int) -> None:
    G = build(tiny_params.generator, channels=channels)
    own = generate_images(G, [1], psi=1, batch_size=1)
    *_, last = steps = list(project(G, own, torch.zeros(1, 0), lpips, config(num_steps=20)))
    assert last.distance < 0.5 * steps[0].distance


def test_colour_under_full_transparency_does_not_count(tiny_params: Params, lpips: Lpips) -> None:
    G = build(tiny_params.generator, channels=4)
    hidden = torch.zeros(2, 4, 16, 16, dtype=torch.uint8)
    hidden[1, :3] = 200
    *_, last = project(G, hidden, torch.zeros(2, 0), lpips, config(num_steps=2))
    assert last.distance[0] == last.distance[1]


@pytest.mark.parametrize(
    ("target", "c", "changes", "message"),
    [
        (torch.zeros(1, 3, 16, 16), torch.zeros(1, 0), {}, "projection got targets torch.float32 [1, 3, 16, 16]; this "
         "generator needs torch.uint8 [N, 3, 16, 16]. Crop and resize them first."),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 0), {}, "projection got targets torch.uint8 [1, 3, "
         "8, 8]; this generator needs torch.uint8 [N, 3, 16, 16]. Crop and resize them first."),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.zeros(1, 2), {}, "projection got labels [1, 2]; expected "
         "[1, 0], one per target."),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.zeros(1, 0), {"learning_rate": 3e37, "lr_rampup": 0.0},
         "projection: the distance is no longer finite after 1 steps. Lower learning_rate."),
    ],
)  # fmt: skip
def test_a_mistake_is_explained(
    G: Generator, lpips: Lpips, target: Tensor, c: Tensor, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        list(project(G, target, c, lpips, config(**changes)))


def test_a_generator_without_noise_has_no_maps_to_search(
    make_params: Callable[..., Params], targets: Tensor, lpips: Lpips
) -> None:
    G = build(make_params("generator.use_noise=false").generator)
    expected = "this generator has no noise maps to optimise (generator.use_noise is false); leave them out."
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        next(project(G, targets, torch.zeros(3, 0), lpips, config(optimize_noise=True)))
    assert next(project(G, targets, torch.zeros(3, 0), lpips, config())).noise == {}
