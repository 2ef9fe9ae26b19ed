"""The detector: pictures of the generator end nearer to their projections than others."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipelines.params import Params
from stylegan.analysis.detection import (
    FEWEST,
    Separation,
    Z,
    auc_interval,
    final_distances,
    generated_pictures,
    separate,
    verdict,
)
from stylegan.analysis.projection import ProjectionConfig, project_batches
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.extractors.lpips import load_lpips
from stylegan.networks import Generator


@pytest.fixture(scope="module", name="G")
def generator(tiny_params: Params) -> Generator:
    torch.manual_seed(0)
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0).eval().requires_grad_(False)
    for name, parameter in G.named_parameters():
        if "torgb" in name and "affine" not in name:
            parameter.data.mul_(0.12)  # a fresh network draws far outside [-1, 1], where its pictures are clipped
    return G


def test_own_pictures_end_nearer_than_foreign_ones(G: Generator) -> None:
    own = generated_pictures(G, torch.zeros(3, 0), seed=0, psi=1, batch_size=2)
    coarse = torch.randint(0, 256, (3, 3, 4, 4), dtype=torch.uint8)
    foreign = coarse.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    search = ProjectionConfig(
        space="w", optimize_noise=True, num_steps=40, learning_rate=0.1, lr_rampup=0.05, lr_rampdown=0.25,
        w_num_samples=100, w_noise_scale=0.05, w_noise_ramp=0.75, noise_weight=1e5, min_resolution=16, seed=0,
    )  # fmt: skip
    lpips = load_lpips("random", Path("none"))
    steps = project_batches(G, torch.cat([foreign, own]), torch.zeros(6, 0), lpips, search, 4)
    ends = final_distances(steps, search.num_steps)
    assert ends.shape == (6,)
    assert ends[3:].max() < ends[:3].min()
    assert separate(ends[:3], ends[3:]).auc == 1


def test_generated_pictures_do_not_depend_on_the_batch_size(G: Generator) -> None:
    apart, together = (
        generated_pictures(G, torch.zeros(3, 0), seed=1, psi=0.7, batch_size=size).int() for size in (1, 3)
    )
    assert apart.shape == (3, 3, 16, 16)
    # Convolutions of other batch sizes sum in another order, which may tip a value over a rounding edge.
    assert (apart - together).abs().max() <= 1


def tensor(*values: float) -> Tensor:
    return torch.tensor(values)


def test_separate_finds_the_threshold_between_the_kinds() -> None:
    result = separate(tensor(5, 6, 8), tensor(1, 2, 4))
    assert (result.auc, result.threshold, result.accuracy, result.num) == (1.0, 4.5, 1.0, 3)


def test_separate_counts_pairs_and_shares_by_hand() -> None:
    # Of the six pairs, (4, 5) is in the wrong order and (5, 5) is a tie.
    result = separate(tensor(4, 5, 9), tensor(5, 1))
    assert result.auc == pytest.approx(4.5 / 6)
    # At 2.5 all real ones and half of the generated are right.
    assert (result.threshold, result.accuracy) == (2.5, 0.75)


def test_kinds_that_do_not_differ_are_told_apart_by_chance() -> None:
    assert separate(tensor(1, 2), tensor(1, 2)).auc == 0.5


def test_each_kind_weighs_the_same_however_many_there_are() -> None:
    assert separate(tensor(*[5.0] * 99), tensor(5.0)).accuracy == 0.5


def test_separate_needs_both_kinds() -> None:
    expected = "detection needs real and generated images, got 0 and 2."
    with pytest.raises(MetricError, match=f"^{re.escape(expected)}$"):
        separate(tensor(), tensor(1, 2))


@pytest.mark.parametrize(
    ("auc", "meaning"),
    [(1.0, "projection tells generated images"), (0.8, "projection often tells generated images"),
     (0.65, "projection hardly tells"), (0.5, "with these images, projection does not tell generated from real ones"),
     (0.2, "real images are reproduced better than generated ones")],
)  # fmt: skip
def test_the_verdict_says_what_the_numbers_mean(auc: float, meaning: str) -> None:
    low, high = auc - 0.1, auc + 0.1
    text = verdict(Separation(auc, (low, high), 100, threshold=0.25, accuracy=0.9))
    assert text.startswith(
        f"AUC {auc:.2f} (95% interval {low:.2f} to {high:.2f}), 90% right at the distance 0.25: {meaning}"
    )


@pytest.mark.parametrize("num", [1, 2, FEWEST - 1])
def test_few_pictures_support_no_claim_however_high_the_auc(num: int) -> None:
    result = separate(torch.arange(10.0, 10 + num), torch.arange(float(num)) / num)
    assert result.auc == 1
    assert f"{num} images of each kind are too few to say anything; give --num 20 or more" in verdict(result)


def test_the_fewest_pictures_are_those_by_which_a_perfect_auc_is_a_high_one() -> None:
    # 0.9 is what the verdict calls telling apart.
    assert auc_interval(1.0, FEWEST, FEWEST)[0] == pytest.approx(0.9, abs=0.005)


def test_the_interval_solves_the_score_equation() -> None:
    """Of 2 and 2 pictures at AUC 1, the lower end: (1 - a)^2 = Z^2 a (1 - a) (1 + (1 - a)/(2 - a) + a/(1 + a)) / 4"""
    low, high = auc_interval(1.0, 2, 2)
    right = Z**2 * low * (1 - low) * (1 + (1 - low) / (2 - low) + low / (1 + low)) / 4
    assert (1 - low) ** 2 == pytest.approx(right, abs=5e-4)  # the grid has steps of 1e-4
    assert low < 0.5
    assert high == 1


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Real distances are normal about 1, generated about 0, so the AUC is Phi(1 / sqrt 2)."""
    truth = float(torch.special.ndtr(torch.tensor(0.5).sqrt()))
    draws = [separate(torch.randn(30) + 1, torch.randn(30)).interval for _ in range(400)]
    share = sum(low <= truth <= high for low, high in draws) / len(draws)
    assert share == pytest.approx(0.95, abs=0.04)  # four standard errors of a share of 400


def test_mirrored_distances_have_the_mirrored_interval() -> None:
    low, high = auc_interval(0.8, 30, 50)
    assert auc_interval(0.2, 50, 30) == pytest.approx((1 - high, 1 - low))
