"""stylegan.monitor: the numbers that snapshots are compared by, and that measuring leaves no trace."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from stylegan import monitor
from stylegan.data import ImageDataset
from stylegan.metrics import kernel_distance, precision_recall
from stylegan.metrics.evaluation.sampling import draw_labels, draw_latents, generated_batches
from stylegan.metrics.extractors import RandomExtractor
from stylegan.metrics.left_out import kernel_distance_left_out
from stylegan.monitor import Monitor, choose_reals, monitor_seed, spread
from stylegan.networks import Generator

Make = Callable[..., Params]


@pytest.fixture
def G(tiny_params: Params) -> Generator:
    return Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=2).eval().requires_grad_(False)


@pytest.fixture
def extractor() -> RandomExtractor:
    return RandomExtractor(input_size=16)


def train_split(archive: Path, *, xflip: bool) -> ImageDataset:
    return ImageDataset(archive, use_labels=True, xflip=xflip, split="train", max_images=None)


def test_numbers_are_those_of_the_metrics_themselves(
    make_params: Make, tiny_archive: Path, G: Generator, extractor: RandomExtractor
) -> None:
    params, dataset = make_params("monitor.num_images=10", "train.seed=3"), train_split(tiny_archive, xflip=True)
    measured = Monitor.create(params, dataset, extractor).measure(G)
    seed = monitor_seed(3)
    latents = draw_latents(G, draw_labels(dataset, 10, seed), seed, batch_size=4)
    gen = torch.cat([extractor(img) for img in generated_batches(G, latents, 1.0, None, 4)])
    rows = choose_reals(dataset, params.monitor, seed)
    real = torch.cat([extractor(dataset.batch(rows[start : start + 4])[0]) for start in (0, 4, 8)])
    precision, recall = precision_recall(real, gen, k=1)
    assert measured == {
        "monitor/kid": pytest.approx(kernel_distance(real, gen, num_subsets=1, subset_size=10), rel=1e-9),
        "monitor/kid_se": kernel_distance_left_out(real, gen).standard_error,
        "monitor/precision": precision,
        "monitor/recall": recall,
        "monitor/spread": spread(gen) / spread(real),
    }


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_a_snapshot_is_not_chosen_by_the_latents_and_labels_that_the_evaluation_draws(
    seed: int, tiny_archive: Path, G: Generator
) -> None:
    dataset = train_split(tiny_archive, xflip=False)
    c = draw_labels(dataset, 40, monitor_seed(seed))
    assert not torch.equal(c, draw_labels(dataset, 40, seed))
    monitored, evaluated = (draw_latents(G, c, each, batch_size=40).w for each in (monitor_seed(seed), seed))
    assert not (monitored[:, None] == evaluated).all(dim=2).any()


def test_two_images_of_each_have_a_kid_without_a_standard_error(
    make_params: Make, tiny_archive: Path, G: Generator, extractor: RandomExtractor
) -> None:
    dataset = train_split(tiny_archive, xflip=False)
    measured = Monitor.create(make_params("monitor.num_images=2"), dataset, extractor).measure(G)
    assert [*measured] == ["monitor/kid", "monitor/precision", "monitor/recall", "monitor/spread"]


def test_numbers_are_those_of_another_batch_size_but_for_rounding(
    make_params: Make, tiny_archive: Path, G: Generator, extractor: RandomExtractor
) -> None:
    dataset, sizes = train_split(tiny_archive, xflip=False), ("train.batch_gpu=4", "train.batch_gpu=2")
    first, second = (Monitor.create(make_params(size), dataset, extractor).measure(G) for size in sizes)
    assert first == pytest.approx(second, rel=1e-4)  # float32 convolutions of other batches, and a KID near 0


def test_real_images_are_always_the_same_distinct_ones_and_none_is_mirrored(
    make_params: Make, tiny_archive: Path
) -> None:
    straight, mirrored = (train_split(tiny_archive, xflip=xflip) for xflip in (False, True))
    config = make_params("monitor.num_images=10").monitor
    rows = choose_reals(mirrored, config, seed=0)
    assert rows.tolist() == choose_reals(straight, config, seed=0).tolist()
    assert (len(set(rows.tolist())), max(rows) < 18) == (10, True)
    assert rows.tolist() != choose_reals(straight, config, seed=1).tolist()
    everything = choose_reals(mirrored, make_params("monitor.num_images=100").monitor, seed=0)
    assert sorted(everything) == list(range(18))


def test_with_fewer_real_images_precision_and_recall_have_as_many_of_both_and_kid_has_all(
    make_params: Make, tiny_archive: Path, G: Generator, extractor: RandomExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def spy(real: torch.Tensor, gen: torch.Tensor, k: int) -> tuple[float, float]:
        seen.append((len(real), len(gen)))
        return precision_recall(real, gen, k)

    monkeypatch.setattr(monitor, "precision_recall", spy)
    dataset = train_split(tiny_archive, xflip=False)
    measured = Monitor.create(make_params("monitor.num_images=30"), dataset, extractor)
    found = measured.measure(G)
    assert seen == [(18, 18)]
    seed = monitor_seed(0)
    latents = draw_latents(G, draw_labels(dataset, 30, seed), seed, batch_size=4)
    gen = torch.cat([extractor(img) for img in generated_batches(G, latents, 1.0, None, 4)])
    assert measured.real is not None
    left = kernel_distance_left_out(measured.real, gen)
    assert (found["monitor/kid"], found["monitor/kid_se"]) == (left.value, left.standard_error)  # of the same images


def test_fewer_real_images_than_generated_ones_are_enough(
    make_params: Make, tiny_archive: Path, G: Generator, extractor: RandomExtractor
) -> None:
    dataset = train_split(tiny_archive, xflip=False)
    found = Monitor.create(make_params("monitor.num_images=20"), dataset, extractor)
    assert found.real is not None
    assert (len(found.real), len(found.c)) == (18, 20)
    assert found.measure(G) == found.measure(G)


class DrawingExtractor(RandomExtractor):
    """An extractor of the user's own that draws random numbers."""

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return super().forward(img) + torch.rand(1)


def test_measuring_leaves_the_generator_and_the_global_random_state_alone(
    make_params: Make, tiny_archive: Path, G: Generator
) -> None:
    torch.manual_seed(5)
    before, weights = torch.get_rng_state(), {name: tensor.clone() for name, tensor in G.state_dict().items()}
    Monitor.create(make_params(), train_split(tiny_archive, xflip=False), DrawingExtractor(input_size=16)).measure(G)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in G.state_dict().items())
    assert not G.training


def test_equal_images_have_no_spread_and_twice_the_distances_four_times_as_much() -> None:
    features = torch.randn(20, 5)
    assert spread(features[:1].expand(7, -1)) == 0
    assert spread(2 * features + 1) == pytest.approx(4 * spread(features), rel=1e-5)  # fp32 input
