"""Which images are measured, path lengths, and the way from images to named numbers."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.params import Params
from stylegan.images import to_uint8
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.evaluator import (
    Statistics,
    cached_features,
    compare,
    extract,
    split_for_floor,
    summarise,
)
from stylegan.metrics.extractors import RandomExtractor
from stylegan.metrics.lpips import Lpips, load_lpips
from stylegan.metrics.ppl import PROTOCOLS, lpips_input, path_lengths, perceptual_path_length
from stylegan.metrics.sampling import (
    Latents,
    batches,
    draw_labels,
    draw_latents,
    generated_batches,
    synthesize,
)
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


def test_path_lengths_do_not_depend_on_the_batch(G: Generator, lpips: Lpips) -> None:
    lengths = [
        path_lengths(G, lpips, no_labels(6), WEND, epsilon=1e-2, seed=0, batch_size=n, psi=1.0, cutoff=None)
        for n in (1, 4)
    ]
    # Differences of fp32 embeddings that differ by 1 %, squared
    torch.testing.assert_close(lengths[0], lengths[1], rtol=1e-3, atol=1e-3 * float(lengths[0].max()))


def test_path_length_is_the_lpips_of_two_ends_with_equal_noise(G: Generator, lpips: Lpips) -> None:
    epsilon = 0.1
    lengths = path_lengths(G, lpips, no_labels(3), WEND, epsilon=epsilon, seed=5, batch_size=3, psi=0.7, cutoff=None)
    w0, w1 = (draw_latents(G, no_labels(3), 5, 3, stream=stream).w for stream in (0, 1))
    ends = [synthesize(G, Latents(5, w), range(3), 0.7, None) for w in (w0, w0 + epsilon * (w1 - w0))]
    torch.testing.assert_close(lengths, lpips(*ends) / epsilon**2)
    assert not torch.allclose(w0, w1)


def test_path_is_shorter_under_truncation(G: Generator, lpips: Lpips) -> None:
    full, half = (
        path_lengths(G, lpips, no_labels(8), WEND, epsilon=1e-2, seed=0, batch_size=8, psi=psi, cutoff=None).mean()
        for psi in (1.0, 0.3)
    )
    assert float(half) < float(full)


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
    lengths = path_lengths(G, lpips, no_labels(2), WEND, epsilon=1e-2, seed=0, batch_size=2, psi=1.0, cutoff=None)
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


def statistics_of(img: Tensor) -> Statistics:
    return summarise(extract(torch.split(img, 16), RandomExtractor(16)))


def test_numbers_are_named_after_the_extractor(tiny_params: Params) -> None:
    real, gen = statistics_of(random_images(24, 0)), statistics_of(random_images(16, 1))
    assert list(compare(real, gen, tiny_params.evaluate, "efflite0")) == [
        "kid_efflite0",
        "fid_efflite0",
        "precision_efflite0",
        "recall_efflite0",
    ]


def test_distances_grow_with_the_difference(make_params: Callable[..., Params]) -> None:
    config = make_params("evaluate.num_images=64", "evaluate.kid_subset_size=32", "evaluate.pr_neighbors=3").evaluate
    real = statistics_of(random_images(64, 0))
    same, near, far = (
        compare(real, statistics_of(random_images(64, 1, spread)), config, "random") for spread in (0.3, 0.4, 0.8)
    )
    assert same["kid_random"] < near["kid_random"] < far["kid_random"]
    assert same["frechet_random"] < near["frechet_random"] < far["frechet_random"]
    assert same["precision_random"] > far["precision_random"]


def test_subsets_are_drawn_with_the_seed_of_the_evaluation(make_params: Callable[..., Params]) -> None:
    real, gen = statistics_of(random_images(24, 0)), statistics_of(random_images(16, 1))
    one, two = (compare(real, gen, make_params(f"evaluate.seed={seed}").evaluate, "x")["kid_x"] for seed in (0, 1))
    assert one != two


def test_mode_collapse_is_seen_by_recall(make_params: Callable[..., Params]) -> None:
    config = make_params("evaluate.num_images=64", "evaluate.pr_neighbors=3").evaluate
    img = random_images(64, 0)
    collapsed = img[:2].repeat(32, 1, 1, 1)
    numbers = compare(statistics_of(img), statistics_of(collapsed), config, "random")
    assert numbers["precision_random"] == 1
    assert numbers["recall_random"] <= 2 / 64


def test_numbers_do_not_depend_on_the_batch(G: Generator, tiny_params: Params) -> None:
    real, extractor = statistics_of(random_images(24, 0)), RandomExtractor(16)
    latents = draw_latents(G, no_labels(16), 0, 16)
    one, many = (
        compare(
            real, summarise(extract(generated_batches(G, latents, 1.0, None, n), extractor)), tiny_params.evaluate, "x"
        )
        for n in (1, 16)
    )
    assert one == pytest.approx(many, rel=1e-3)  # single pixels may round to a neighbouring value


def test_numbers_are_reproduced_exactly(G: Generator, tiny_params: Params) -> None:
    real = statistics_of(random_images(24, 0))
    values = [compare(real, statistics_of(images_of(G, 8)), tiny_params.evaluate, "random") for _ in range(2)]
    assert json.dumps(values[0]) == json.dumps(values[1])


def test_floor_splits_real_features_into_disjoint_parts() -> None:
    features = torch.arange(10.0)[:, None]
    rest, sample = split_for_floor(features, num_images=3, seed=0)
    assert (len(rest), len(sample)) == (7, 3)
    assert sorted(torch.cat([rest, sample]).flatten().tolist()) == list(range(10))
    assert len(split_for_floor(features, num_images=100, seed=0)[1]) == 5  # at most half
    assert not torch.equal(split_for_floor(features, num_images=3, seed=1)[1], sample)


def test_floor_of_too_few_images_is_refused() -> None:
    with pytest.raises(MetricError) as caught:
        split_for_floor(torch.zeros(3, 1), num_images=2, seed=0)
    assert str(caught.value) == (
        "the real-vs-real floor needs two halves of at least 2 images; the split has 3. Add images to the archive."
    )


def test_real_features_are_computed_once_per_archive_split_and_extractor(tmp_path: Path) -> None:
    calls: list[None] = []

    def compute() -> Tensor:
        calls.append(None)
        return torch.full((2, 64), float(len(calls)))

    def features(digest: str = "a" * 64, split: str = "train", size: int = 16) -> float:
        return float(cached_features(tmp_path, digest, split, RandomExtractor(size), compute)[0, 0])

    assert features() == features() == 1
    assert [features(digest="b" * 64), features(split="all"), features(size=8)] == [2, 3, 4]
    assert features() == 1
    assert len(calls) == 4
