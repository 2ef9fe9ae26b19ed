"""Peaks of feature maps: against a plain loop, and with a droplet put into one layer."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pipelines.params import Params
from stylegan.analysis.peaks import feature_peaks, map_peaks, of_gaussian_noise, summary
from stylegan.drawing.generate import styles
from stylegan.networks import Generator

Make = Callable[..., Params]


def build(params: Params) -> Generator:
    torch.manual_seed(0)
    return Generator(params.generator, img_resolution=16, img_channels=3, c_dim=0).eval()


@pytest.fixture(scope="module", name="G")
def generator(tiny_params: Params) -> Generator:
    return build(tiny_params)


def test_a_peak_is_the_farthest_pixel_in_deviations() -> None:
    x = torch.randn(2, 3, 5, 7)
    for n in range(2):
        for c in range(3):
            values = x[n, c].flatten().tolist()
            mean = sum(values) / len(values)
            std = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
            farthest = max(abs(value - mean) for value in values) / std
            assert map_peaks(x)[n, c].item() == pytest.approx(farthest, rel=1e-5)


def test_neither_scale_nor_shift_of_a_map_changes_its_peak() -> None:
    # So it does not matter whether a layer is looked at before or after AdaIN scales its maps.
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(map_peaks(7 * x - 3), map_peaks(x), rtol=1e-4, atol=1e-4)


def test_peaks_lie_between_two_values_and_one_pixel() -> None:
    two, one = torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    two[..., :4], one[..., 3, 4] = -1.0, 1.0
    assert map_peaks(two).item() == pytest.approx(1)
    assert map_peaks(one).item() == pytest.approx(math.sqrt(63), rel=1e-4)
    assert map_peaks(torch.full((1, 1, 8, 8), 0.3)).item() == 0


def test_every_map_of_every_layer_counts_once(G: Generator) -> None:
    ws = styles(G, range(5))
    found = feature_peaks(G, ws, batch_size=2)
    channels = {4: 4, 8: 4, 16: 4}  # one layer at the base, two elsewhere
    assert {res: len(peaks) for res, peaks in found.items()} == {
        res: 5 * width * (1 if res == 4 else 2) for res, width in channels.items()
    }
    outputs: list[Tensor] = []
    hook = G.synthesis.b16.conv1.register_forward_hook(lambda layer, inputs, x: outputs.append(x))  # type: ignore[union-attr]
    with torch.no_grad():
        G.synthesis(ws, "const")
    hook.remove()
    expected = torch.cat([map_peaks(outputs[0]).flatten()])
    # Sums over another batch size run in another order.
    assert all((found[16] - peak).abs().min() < 1e-3 for peak in expected)


def test_the_size_of_a_batch_changes_nothing_and_no_hook_stays(G: Generator) -> None:
    ws = styles(G, range(4))
    one, all_four = (feature_peaks(G, ws, batch_size=size) for size in (1, 4))
    for res, peaks in one.items():
        torch.testing.assert_close(peaks.sort().values, all_four[res].sort().values, rtol=1e-3, atol=1e-3)
    assert not any(module._forward_hooks for module in G.modules())


def test_a_droplet_is_seen_where_it_is(tiny_params: Params) -> None:
    G = build(tiny_params)
    ws = styles(G, range(4))
    before = {res: summary(peaks) for res, peaks in feature_peaks(G, ws, batch_size=4).items()}

    def drop(layer: nn.Module, inputs: tuple[Tensor, ...], x: Tensor) -> Tensor:
        x = x.clone()
        x[:, 1, 5, 6] += 1000.0
        return x

    layer = G.synthesis.b16.conv1
    assert isinstance(layer, nn.Module)
    hook = layer.register_forward_hook(drop)
    after = {res: summary(peaks) for res, peaks in feature_peaks(G, ws, batch_size=4).items()}
    hook.remove()
    assert before[4] == after[4]
    assert before[8] == after[8]
    assert before[16]["max"] < 10
    assert after[16]["max"] == pytest.approx(math.sqrt(255), rel=1e-3)
    assert after[16]["p99_9"] > 15


@pytest.mark.parametrize(
    "change", ["generator.architecture=orig", "generator.architecture=resnet", "generator.use_noise=false"]
)
def test_every_architecture_is_measured(make_params: Make, change: str) -> None:
    G = build(make_params(change))
    found = feature_peaks(G, styles(G, range(2)), batch_size=2)
    assert sorted(found) == [4, 8, 16]
    assert all(peaks.isfinite().all() and peaks.max() > 1 for peaks in found.values())


def test_gaussian_maps_have_about_the_peak_of_the_dashed_line() -> None:
    peaks = summary(map_peaks(torch.randn(50, 4, 64, 64)).flatten())
    assert peaks["num_maps"] == 200
    assert peaks["median"] == pytest.approx(of_gaussian_noise(64), rel=0.1)
    assert peaks["p1"] <= peaks["p25"] <= peaks["median"] <= peaks["p75"] <= peaks["p99"] <= peaks["p99_9"]
