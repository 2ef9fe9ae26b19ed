"""The published kinds of path length: where the path runs, at which t, and what is seen of the images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.params import Params
from stylegan.metrics.evaluation.ppl import PROTOCOLS, lpips_input, on_great_circle, path_lengths, path_step
from stylegan.metrics.evaluation.sampling import PATH, Z_END, Z, batches, normals, uniforms
from stylegan.metrics.extractors.lpips import Lpips, load_lpips
from stylegan.networks import Generator

EPSILON = 0.05


@pytest.fixture(scope="module")
def G(tiny_params: Params) -> Generator:
    torch.manual_seed(0)
    return Generator(tiny_params.generator, img_resolution=32, img_channels=3, c_dim=0).eval().requires_grad_(False)


def w_of(G: Generator, z: Tensor) -> Tensor:
    w: Tensor = G.mapping(z.float(), torch.zeros(len(z), 0))[:, 0]
    return w


@pytest.mark.parametrize("name", PROTOCOLS)
def test_steps_are_those_of_the_protocol(G: Generator, name: str) -> None:
    z0, z1 = (normals(3, stream, range(4), G.z_dim) for stream in (Z, Z_END))
    t = uniforms(3, PATH, range(4))[:, None] if name.endswith("full") else torch.zeros(4, 1)
    found = path_step(G, torch.zeros(4, 0), PROTOCOLS[name], EPSILON, 3, range(4))
    for w, at in zip(found, (t, t + EPSILON), strict=True):
        line = (w_of(G, z0) * (1 - at) + w_of(G, z1) * at).float()
        expected = w_of(G, on_great_circle(z0, z1, at)) if "_z" in name else line
        torch.testing.assert_close(w, expected)


def test_only_the_legacy_protocols_crop() -> None:
    assert {name for name, protocol in PROTOCOLS.items() if not protocol.crop} == {"ppl2_wend"}


def lengths_of(G: Generator, lpips: Lpips, name: str, rows: range) -> torch.Tensor:
    c = torch.zeros(len(rows), 0)
    return path_lengths(G, lpips, c, PROTOCOLS[name], rows, epsilon=EPSILON, seed=0, psis=[1.0], cutoff=None)[0]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_lengths_do_not_depend_on_the_batch(G: Generator, name: str) -> None:
    lpips = load_lpips("random", Path("unused"))
    one, many = (
        torch.cat([lengths_of(G, lpips, name, rows) for rows in batches(4, batch_size)]) for batch_size in (1, 3)
    )
    assert bool((one > 0).all())
    torch.testing.assert_close(one, many, rtol=1e-3, atol=1e-3 * float(many.max()))  # fp32 embeddings, subtracted


def test_great_circle_starts_and_ends_at_its_directions_with_equal_angles_between() -> None:
    z0, z1 = (normals(0, stream, range(5), 16) for stream in (Z, Z_END))
    points = torch.stack([on_great_circle(z0, z1, torch.full((5, 1), t)) for t in np.linspace(0, 1, 5)])
    torch.testing.assert_close(points[0], torch.nn.functional.normalize(z0.double(), dim=1))
    torch.testing.assert_close(points[-1], torch.nn.functional.normalize(z1.double(), dim=1))
    angles = (points[:-1] * points[1:]).sum(dim=2).acos()
    torch.testing.assert_close(angles, angles[:1].expand(4, -1))


def test_crop_is_the_middle_half_of_the_columns_and_rows_below_three_eighths() -> None:
    img = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(lpips_input(img, crop=True), img[:, :, 24:56, 16:48])


def test_cropped_image_is_averaged_down_as_the_whole_is() -> None:
    img = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    small = lpips_input(img, crop=True)
    assert small.shape == (1, 3, 128, 128)
    torch.testing.assert_close(small, lpips_input(img)[:, :, 96:224, 64:192])


def test_t_is_spread_evenly_and_fixed_by_seed_and_row() -> None:
    t = uniforms(0, PATH, range(2000))
    assert float(t.mean()) == pytest.approx(0.5, abs=0.03)  # 4 standard deviations
    assert torch.equal(uniforms(0, PATH, range(5, 9)), t[5:9])
    assert not torch.equal(uniforms(1, PATH, range(4)), t[:4])
