"""Which images are measured, path lengths, and the way from images to named numbers."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.params import Params
from stylegan.config.sections import EvaluateConfig
from stylegan.images import to_uint8
from stylegan.metrics.evaluation import sampling
from stylegan.metrics.evaluation.cache import StatisticsCache
from stylegan.metrics.evaluation.comparison import Collector, Comparison, Measured, Statistics, summarise
from stylegan.metrics.evaluation.floor import splits_for_floor
from stylegan.metrics.evaluation.names import metric_names
from stylegan.metrics.evaluation.ppl import PROTOCOLS, lpips_input, path_lengths, perceptual_path_length
from stylegan.metrics.evaluation.sampling import (
    Latents,
    batches,
    draw_labels,
    draw_latents,
    draw_noise,
    generated_batches,
    noise_ahead,
    normals,
    synthesize,
)
from stylegan.metrics.extractors import RandomExtractor
from stylegan.metrics.extractors.lpips import Lpips, load_lpips
from stylegan.metrics.fid import gaussian_distance
from stylegan.metrics.memorization import thumbnails
from stylegan.networks import Generator, truncate

WEND = PROTOCOLS["ppl2_wend"]


class Labels:
    """The part of a data set that drawing labels needs: class 1 is three times as frequent as class 0."""

    def __len__(self) -> int:
        return 40

    def labels(self, indices: list[int]) -> Tensor:
        return torch.eye(2)[[int(index >= 10) for index in indices]]


@pytest.fixture(scope="module")
def G(tiny_params: Params) -> Generator:
    """A generator whose noise and mean style are not zero, as after training."""
    return make_generator(tiny_params)


def make_generator(params: Params, img_channels: int = 3, c_dim: int = 0) -> Generator:
    torch.manual_seed(0)
    G = Generator(params.generator, img_resolution=16, img_channels=img_channels, c_dim=c_dim)
    with torch.no_grad():
        G.mapping.w_avg.normal_()
        for name, parameter in G.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.5)
    return G.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def lpips() -> Lpips:
    return load_lpips("random", Path("unused"))


def no_labels(count: int) -> Tensor:
    return torch.zeros(count, 0)


def images_of(G: Generator, count: int = 6, *, seed: int = 0, psi: float = 1.0, batch_size: int = 6) -> Tensor:
    latents = draw_latents(G, no_labels(count), seed, batch_size)
    return torch.cat(list(generated_batches(G, latents, psi, None, batch_size)))


def test_images_do_not_depend_on_the_batch(G: Generator) -> None:
    together, alone = images_of(G, batch_size=6), images_of(G, batch_size=1)
    # fp32 sums may be in another order for another batch, which can move a value across a rounding edge.
    assert int((together.int() - alone.int()).abs().max()) <= 1
    assert float((together != alone).float().mean()) < 0.01


def test_more_images_begin_with_the_same(G: Generator) -> None:
    assert torch.equal(images_of(G, 4, batch_size=2), images_of(G, 6, batch_size=2)[:4])


def test_every_image_has_a_latent_of_its_own(G: Generator) -> None:
    w = draw_latents(G, no_labels(20), 0, 8).w
    assert len(w.unique(dim=0)) == 20


def test_same_seed_same_images_and_another_seed_others(G: Generator) -> None:
    assert torch.equal(images_of(G, seed=1), images_of(G, seed=1))
    assert not torch.equal(images_of(G, seed=1), images_of(G, seed=2))


def test_global_random_state_is_neither_read_nor_changed(G: Generator) -> None:
    torch.manual_seed(1)
    first, state = images_of(G), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(images_of(G), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_numbers_are_those_of_numpy_for_any_number_of_cores(num_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "WORTH_A_THREAD", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: num_threads)
    wanted = [np.random.default_rng((7, 2, row)).standard_normal(1000, dtype=np.float32) for row in range(3, 12)]
    assert torch.equal(normals(7, 2, range(3, 12), 1000), torch.from_numpy(np.stack(wanted)))


def test_several_cores_draw_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=20)

    def meet(*numbers: int) -> np.random.Generator:
        both.wait()  # raises unless another core is about to draw too
        return np.random.default_rng(numbers)

    monkeypatch.setattr(sampling, "WORTH_A_THREAD", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(sampling, "_rng", meet)
    normals(0, 0, range(4), 10)


def test_the_noise_of_the_next_images_is_drawn_while_the_present_ones_are_made(
    G: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {row: threading.Event() for row in range(6)}

    def note(*numbers: int) -> np.random.Generator:
        drawn[numbers[2]].set()
        return np.random.default_rng(numbers)

    noise = draw_noise(G, 5, range(2, 4))
    monkeypatch.setattr(sampling, "_rng", note)
    ahead = noise_ahead(G, 5, [range(2), range(2, 4), range(4, 6)])
    first, _ = next(ahead)
    assert first == range(2)
    assert drawn[3].wait(20), "nobody has asked for these yet"
    rows, found = next(ahead)
    assert rows == range(2, 4)
    assert all(torch.equal(found[name], noise[name]) for name in noise)
    assert [rows for rows, _ in ahead] == [range(4, 6)]


def test_every_image_has_noise_of_its_own(G: Generator) -> None:
    same_w = Latents(seed=0, w=torch.ones(2, G.w_dim))
    one, two = synthesize(G, same_w, range(2), 1.0, None)
    assert not torch.allclose(one, two, atol=1e-3)


def test_generator_without_noise_is_measured_too(make_params: Callable[..., Params]) -> None:
    G = make_generator(make_params("generator.use_noise=false"))
    one, two = synthesize(G, Latents(seed=0, w=torch.ones(2, G.w_dim)), range(2), 1.0, None)
    torch.testing.assert_close(one, two)


def test_generator_is_left_as_it_was(G: Generator) -> None:
    before = {name: tensor.clone() for name, tensor in G.state_dict().items()}
    images_of(G)
    assert all(torch.equal(tensor, before[name]) for name, tensor in G.state_dict().items())


def test_images_are_those_of_the_networks_own_synthesis(G: Generator) -> None:
    latents = draw_latents(G, no_labels(1), 0, 1)
    maps = np.random.default_rng((0, 2, 0)).standard_normal(16 + 2 * 64 + 2 * 256, dtype=np.float32)
    saved = {name: tensor.clone() for name, tensor in G.state_dict().items()}
    for name, part in zip(
        ("b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1"),
        np.split(maps, [16, 80, 144, 400]),
        strict=True,
    ):
        buffer = G.synthesis.get_buffer(f"{name}.noise_const")
        buffer.copy_(torch.from_numpy(part).reshape(buffer.shape))
    ws = truncate(latents.w[:, None].expand(-1, G.num_ws, -1), G.mapping.w_avg, 0.5, 2)
    expected = G.synthesis(ws, noise_mode="const")
    G.load_state_dict(saved)
    torch.testing.assert_close(synthesize(G, latents, range(1), 0.5, 2), expected)


def test_psi_zero_leaves_the_mean_image_and_its_noise(G: Generator) -> None:
    latents = draw_latents(G, no_labels(2), 0, 2)
    other = Latents(latents.seed, latents.w + 1)
    torch.testing.assert_close(synthesize(G, latents, range(2), 0.0, None), synthesize(G, other, range(2), 0.0, None))
    assert not torch.equal(synthesize(G, latents, range(2), 0.0, 1), synthesize(G, other, range(2), 0.0, 1))


def test_labels_are_as_frequent_as_in_the_data_and_fixed_by_the_seed() -> None:
    labels = draw_labels(Labels(), 400, seed=0)  # type: ignore[arg-type]
    assert labels.shape == (400, 2)
    assert 0.68 < float(labels[:, 1].mean()) < 0.82  # 0.75 within three standard deviations
    assert torch.equal(labels[:100], draw_labels(Labels(), 100, seed=0))  # type: ignore[arg-type]


def test_labels_reach_the_generator(tiny_params: Params) -> None:
    G = make_generator(tiny_params, c_dim=2)
    zero, one = (draw_latents(G, torch.eye(2)[[label] * 3], 0, 3).w for label in (0, 1))
    assert not torch.allclose(zero, one, atol=1e-3)


def test_batches_cover_every_row_once() -> None:
    assert [list(rows) for rows in batches(5, 2)] == [[0, 1], [2, 3], [4]]


def lengths_of(
    G: Generator, lpips: Lpips, count: int, *, psi: float = 1.0, epsilon: float = 1e-2, seed: int = 0, batch: int = 8
) -> Tensor:
    pieces = [
        path_lengths(
            G, lpips, no_labels(len(rows)), WEND, rows, epsilon=epsilon, seed=seed, psis=[psi], cutoff=None
        )[0]
        for rows in batches(count, batch)
    ]  # fmt: skip
    return torch.cat(pieces)


def test_path_lengths_do_not_depend_on_the_batch(G: Generator, lpips: Lpips) -> None:
    lengths = [lengths_of(G, lpips, 6, batch=n) for n in (1, 4)]
    # Differences of fp32 embeddings that differ by 1 %, squared
    torch.testing.assert_close(lengths[0], lengths[1], rtol=1e-3, atol=1e-3 * float(lengths[0].max()))


def test_path_length_is_the_lpips_of_two_ends_with_equal_noise(G: Generator, lpips: Lpips) -> None:
    epsilon = 0.1
    lengths = lengths_of(G, lpips, 3, epsilon=epsilon, seed=5, psi=0.7)
    w0, w1 = (draw_latents(G, no_labels(3), 5, 3, stream=stream).w for stream in (0, 1))
    ends = [synthesize(G, Latents(5, w), range(3), 0.7, None) for w in (w0, w0 + epsilon * (w1 - w0))]
    torch.testing.assert_close(lengths, lpips(*ends) / epsilon**2)
    assert not torch.allclose(w0, w1)


def test_path_is_shorter_under_truncation(G: Generator, lpips: Lpips) -> None:
    full, half = (lengths_of(G, lpips, 8, psi=psi).mean() for psi in (1.0, 0.3))
    assert float(half) < float(full)


def test_a_sweep_over_psi_gives_the_lengths_of_each_psi(G: Generator, lpips: Lpips) -> None:
    swept = path_lengths(
        G, lpips, no_labels(4), WEND, range(4), epsilon=1e-2, seed=0, psis=[0.3, 1.0], cutoff=None
    )  # fmt: skip
    assert all(torch.equal(swept[i], lengths_of(G, lpips, 4, psi=psi)) for i, psi in enumerate([0.3, 1.0]))


def test_outer_percentiles_of_path_lengths_are_left_out() -> None:
    lengths = torch.arange(1000.0)
    lengths[-1] = 1e9
    lengths[0] = -1e9
    # 1 % of 999 gaps is 9.99: kept from the 9th (lower) to the 990th (higher), whose mean is 499.5.
    assert perceptual_path_length(lengths[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]) == 499.5


def test_mean_of_few_path_lengths_keeps_them_all() -> None:
    assert perceptual_path_length(torch.tensor([1.0, 2.0, 6.0])) == 3.0


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_path_length_of_every_number_of_channels_is_finite(tiny_params: Params, lpips: Lpips, channels: int) -> None:
    G = make_generator(tiny_params, img_channels=channels)
    lengths = lengths_of(G, lpips, 2)
    assert bool(lengths.isfinite().all())


def test_only_images_beyond_256_pixels_are_averaged_down() -> None:
    img = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    small = lpips_input(img)
    assert small.shape == (1, 3, 256, 256)
    torch.testing.assert_close(small[0, :, 3, 5], img[0, :, 6:8, 10:12].mean(dim=(1, 2)))
    assert lpips_input(img[..., :256, :256]).shape == (1, 3, 256, 256)
    assert lpips_input(img[..., :64, :64]).shape == (1, 3, 64, 64)


def random_images(count: int, seed: int, spread: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    colour = torch.randn(count, 3, 1, 1, generator=generator) * spread
    return to_uint8(colour + torch.randn(count, 3, 16, 16, generator=generator) * spread)


EXTRACTOR = RandomExtractor(16)


def statistics_of(img: Tensor) -> Statistics:
    features = torch.cat([EXTRACTOR(batch) for batch in torch.split(img, 16)])
    return replace(summarise(features), thumbnails=thumbnails(img))


def compare(real: Statistics, gen: Statistics, config: EvaluateConfig, *, bootstrap: bool = False) -> Measured:
    names = metric_names(config, "x", whole_set=0)
    return Comparison(config, names, EXTRACTOR, real, gen, bootstrap).measure()


def test_numbers_are_those_asked_for_in_that_order(make_params: Callable[..., Params]) -> None:
    real, gen = statistics_of(random_images(80, 0)), statistics_of(random_images(80, 1))
    config = make_params("evaluate.metrics=[memorization, fid, pr, kid]").evaluate
    assert list(compare(real, gen, config).numbers) == [
        "memorized_8px", "fid_x", "precision_x", "recall_x", "density_x", "coverage_x", "kid_x",
    ]  # fmt: skip
    assert list(compare(real, gen, make_params("evaluate.metrics=[kid]").evaluate).numbers) == ["kid_x"]


def test_only_asked_for_are_intervals_computed_and_hold_their_number(make_params: Callable[..., Params]) -> None:
    real, gen = statistics_of(random_images(48, 0)), statistics_of(random_images(48, 1, spread=0.4))
    config = make_params("evaluate.metrics=[kid, fid, pr]", "evaluate.bootstrap_num_resamples=50").evaluate
    found = compare(real, gen, config, bootstrap=True)
    assert compare(real, gen, config).intervals == {}
    assert list(found.intervals) == ["kid_x", "precision_x", "recall_x", "density_x", "coverage_x"]
    assert all(low <= found.numbers[name] <= high for name, (low, high) in found.intervals.items())
    wide = make_params("evaluate.metrics=[kid]", "evaluate.bootstrap_level=0.5").evaluate
    low, high = compare(real, gen, wide, bootstrap=True).intervals["kid_x"]
    assert found.intervals["kid_x"][0] < low < high < found.intervals["kid_x"][1]


def test_inception_score_of_a_network_without_classes_is_refused(make_params: Callable[..., Params]) -> None:
    real = statistics_of(random_images(8, 0))
    found = compare(real, real, make_params("evaluate.metrics=[kid, is]").evaluate)
    assert list(found.numbers) == ["kid_x"]
    assert [failure.reason for failure in found.failures] == [
        "inception score: the extractor random has no class scores. Take `is` out of evaluate.metrics, or set "
        "evaluate.extractor to inception or efficientnet_lite0."
    ]


def test_moments_give_the_distance_of_kept_features(make_params: Callable[..., Params]) -> None:
    config, distances = make_params("evaluate.metrics=[fid]").evaluate, []
    for keep in (True, False):
        sides = []
        for seed in (0, 1):
            collector = Collector(EXTRACTOR, torch.device("cpu"), keep=keep, shrink=False)
            for batch in torch.split(random_images(200, seed), 30):
                collector.append(batch)
            statistics = collector.together(None)
            assert statistics is not None
            assert (statistics.features is not None) == keep
            sides.append(statistics)
        distances.append(compare(*sides, config).numbers["fid_x"])
    assert distances[0] == pytest.approx(distances[1], rel=1e-9)  # sums of squares in another order


def test_distances_grow_with_the_difference(make_params: Callable[..., Params]) -> None:
    config = make_params("evaluate.num_images=64", "evaluate.kid_subset_size=32", "evaluate.pr_neighbors=3").evaluate
    real = statistics_of(random_images(64, 0))
    same, near, far = (
        compare(real, statistics_of(random_images(64, 1, spread)), config).numbers for spread in (0.3, 0.4, 0.8)
    )
    assert same["kid_x"] < near["kid_x"] < far["kid_x"]
    assert same["fid_x"] < near["fid_x"] < far["fid_x"]
    assert same["precision_x"] > far["precision_x"]


def test_subsets_are_drawn_with_the_seed_of_the_evaluation(make_params: Callable[..., Params]) -> None:
    real, gen = statistics_of(random_images(24, 0)), statistics_of(random_images(16, 1))
    one, two = (compare(real, gen, make_params(f"evaluate.seed={seed}").evaluate).numbers["kid_x"] for seed in (0, 1))
    assert one != two


def test_mode_collapse_is_seen_by_recall(make_params: Callable[..., Params]) -> None:
    config = make_params("evaluate.num_images=64", "evaluate.pr_neighbors=3").evaluate
    img = random_images(64, 0)
    collapsed = img[:2].repeat(32, 1, 1, 1)
    numbers = compare(statistics_of(img), statistics_of(collapsed), config).numbers
    assert numbers["precision_x"] == 1
    assert numbers["recall_x"] <= 2 / 64


def test_numbers_do_not_depend_on_the_batch(G: Generator, tiny_params: Params) -> None:
    real = statistics_of(random_images(24, 0))
    one, many = (
        compare(real, statistics_of(images_of(G, 16, batch_size=n)), tiny_params.evaluate).numbers for n in (1, 16)
    )
    assert one == pytest.approx(many, rel=1e-3)  # single pixels may round to a neighbouring value


def test_numbers_are_reproduced_exactly(G: Generator, tiny_params: Params) -> None:
    real = statistics_of(random_images(24, 0))
    found = [compare(real, statistics_of(images_of(G, 8)), tiny_params.evaluate, bootstrap=True) for _ in range(2)]
    assert found[0].numbers == found[1].numbers
    assert found[0].intervals == found[1].intervals


def test_floor_splits_real_images_into_disjoint_parts_anew_each_time() -> None:
    splits = splits_for_floor(10, num_images=3, num_splits=10, seed=0)
    for rest, part in splits:
        assert (len(rest), len(part)) == (7, 3)
        assert sorted(torch.cat([rest, part]).tolist()) == list(range(10))
    assert len({tuple(sorted(part.tolist())) for _, part in splits}) > 5
    assert len(splits_for_floor(10, num_images=100, num_splits=10, seed=0)[0][1]) == 5  # at most half
    assert not torch.equal(splits_for_floor(10, num_images=3, num_splits=10, seed=1)[0][1], splits[0][1])


def test_too_few_images_have_no_floor() -> None:
    assert splits_for_floor(3, num_images=2, num_splits=10, seed=0) == []


def test_real_statistics_are_found_again_by_archive_split_extractor_and_code_alone(tmp_path: Path) -> None:
    def cache(digest: str = "a", size: int = 16, code: str = "code") -> StatisticsCache:
        return StatisticsCache(tmp_path, digest * 64, RandomExtractor(size), code)

    saved = statistics_of(random_images(80, 0))
    cache().save("train", saved)
    found = cache().load("train", features=True, thumbnails=False)
    assert found is not None
    assert found.features is not None
    assert torch.equal(found.features, saved.features if saved.features is not None else torch.empty(0))
    assert gaussian_distance(found.gaussian, saved.gaussian) == pytest.approx(0, abs=1e-12)
    others = [
        cache("b").load("train", features=True, thumbnails=False),
        cache(size=8).load("train", features=True, thumbnails=False),
        cache(code="other").load("train", features=True, thumbnails=False),
        cache().load("all", features=True, thumbnails=False),
    ]
    assert others == [None] * 4
    cache(code="other").save("train", saved)
    assert len(list(tmp_path.iterdir())) == 1, "in place of what is of no use any more"


def test_moments_alone_do_not_stand_for_features(tmp_path: Path) -> None:
    cache, whole = StatisticsCache(tmp_path, "a" * 64, EXTRACTOR, "code"), statistics_of(random_images(80, 0))
    cache.save("train", Statistics(whole.gaussian, None))
    assert cache.load("train", features=True, thumbnails=False) is None
    found = cache.load("train", features=False, thumbnails=False)
    assert found is not None
    assert torch.equal(found.gaussian.mean, whole.gaussian.mean)
    cache.save("all", whole)
    assert cache.load("all", features=False, thumbnails=False) is not None  # features have moments


def test_thumbnails_are_found_again_and_looked_at_again_where_they_were_not_kept(tmp_path: Path) -> None:
    cache, whole = StatisticsCache(tmp_path, "a" * 64, EXTRACTOR, "code"), statistics_of(random_images(20, 0))
    cache.save("train", replace(whole, thumbnails=None))
    assert cache.load("train", features=True, thumbnails=True) is None
    cache.save("train", whole)
    found, without = (cache.load("train", features=True, thumbnails=wanted) for wanted in (True, False))
    assert found is not None
    assert found.thumbnails is not None
    assert torch.equal(found.thumbnails, thumbnails(random_images(20, 0)))
    assert without is not None
    assert without.thumbnails is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:50], lambda content: b"", lambda content: content.replace(b'"mean"', b'"meen"'),
        lambda content: content[:-4] + np.float32(np.nan).tobytes(),
    ],
)  # fmt: skip
def test_real_statistics_that_are_damaged_are_made_again(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    cache = StatisticsCache(tmp_path, "a" * 64, EXTRACTOR, "code")
    cache.save("train", replace(statistics_of(random_images(80, 0)), thumbnails=None))
    path = cache.path("train", features=True)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"features\.safetensors: .*\. Real images are looked at again"):
        assert cache.load("train", features=True, thumbnails=False) is None
