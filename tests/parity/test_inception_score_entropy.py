"""The inception score against entropies written out, and on classifiers whose answer is known."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from stylegan.metrics import inception_score
from stylegan.metrics.arrays import MetricError

Array = npt.NDArray[np.float64]


def expected_score(scores: Array) -> float:
    p = softmax(scores, axis=1)
    return float(np.exp(np.mean([entropy(row, p.mean(axis=0)) for row in p])))


@pytest.mark.parametrize("count", [60, 65])
def test_score_is_the_mean_over_consecutive_splits(count: int) -> None:
    scores = np.random.default_rng(0).standard_normal((count, 7)) * 3
    parts = [scores[i * count // 10 : (i + 1) * count // 10] for i in range(10)]
    values = [expected_score(part) for part in parts]
    assert inception_score(scores) == pytest.approx((np.mean(values), np.std(values)), rel=1e-10)  # fp64


def test_single_precision_scores_give_the_score_to_1e_6() -> None:
    scores = np.random.default_rng(3).normal(size=(500, 1008)).astype(np.float32) * 4
    (mean, spread), (expected_mean, expected_spread) = map(inception_score, (scores, scores.astype(np.float64)))
    assert mean == pytest.approx(expected_mean, rel=1e-6)  # sums of 1008 fp32 terms
    assert spread == pytest.approx(expected_spread, rel=1e-5)  # a small difference of large numbers


def test_sure_classifier_of_equally_many_images_per_class_scores_their_number() -> None:
    scores = np.tile(np.eye(5) * 1000, (4, 1))
    assert inception_score(scores, 2) == pytest.approx((5, 0))


def test_collapse_to_one_class_scores_one() -> None:
    assert inception_score(np.tile([[1000.0, 0, -1000]], (20, 1))) == pytest.approx((1, 0))


def test_a_bias_shared_by_all_classes_changes_nothing() -> None:
    scores = np.random.default_rng(1).standard_normal((40, 5))
    assert inception_score(scores + 100) == pytest.approx(inception_score(scores), rel=1e-10)  # fp64


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (
            np.zeros((9, 3)),
            "inception_score: 9 images in 10 splits; at least 1 image in each is needed. Raise evaluate.num_images.",
        ),
        (
            np.full((20, 3), np.nan),
            "inception_score: scores are [20, 3], finite: False; expected finite [N, K]. "
            "Give the classifier's outputs before the softmax.",
        ),
    ],
)
def test_unfit_scores_are_refused(scores: Array, message: str) -> None:
    with pytest.raises(MetricError) as caught:
        inception_score(scores)
    assert str(caught.value) == message
