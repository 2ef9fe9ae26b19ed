"""A measured number knows what it is."""

import math

import pytest

from stylegan.metrics.evaluation.metric import KINDS, Metric, distance_of, find, short
from tests.evaluation_results import metrics_of


def test_sentences_call_metrics_by_their_usual_name() -> None:
    names = ("kid_x", "fid50k_full", "frechet_random", "recall_x", "is50k", "ppl2_wend")
    assert [metric.label for metric in metrics_of(dict.fromkeys(names, 1.0))] == [
        "KID", "FID", "Frechet distance", "recall", "IS", "PPL",
    ]  # fmt: skip


def test_distances_copies_and_path_lengths_are_better_when_lower() -> None:
    lower = {"kid", "fid", "frechet", "fid_infinity", "memorized", "ppl"}
    assert {kind for kind, meaning in KINDS.items() if meaning.lower_is_better} == lower


def test_the_kind_and_not_the_name_says_what_a_number_is() -> None:
    odd = Metric(name="kid_recall", kind="recall", extractor="x", value=0.5)
    assert (find([odd], "kid"), find([odd], "recall")) == (None, odd)
    assert (odd.label, odd.unit, odd.lower_is_better) == ("recall", "share", False)


def test_the_first_of_the_first_kind_is_found() -> None:
    metrics = metrics_of({"fid_x": 9.0, "kid_x": 0.1, "kid50k_full": 0.2})
    assert find(metrics, "kid", "fid") == metrics[1]
    assert find(metrics, "recall", "fid") == metrics[0]
    assert find(metrics, "recall") is None


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        ({"fid_x": 9.0, "kid_x": 0.1}, "kid_x"),
        ({"fid_infinity_x": 8.0, "fid_x": 9.0}, "fid_x"),
        ({"frechet_random": 9.0}, "frechet_random"),
    ],
)
def test_results_are_judged_by_kid_or_without_it_by_fid(numbers: dict[str, float], name: str) -> None:
    assert distance_of(metrics_of(numbers)).name == name


def test_results_without_a_distance_say_what_to_add() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        distance_of(metrics_of({"recall_x": 0.1}))
    assert str(error.value) == "no kid, fid or frechet was measured. Add kid or fid to evaluate.metrics."


def test_a_number_may_be_nan_or_infinite() -> None:
    assert math.isnan(Metric(name="kid_x", kind="kid", extractor="x", value=math.nan).value)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.00322, 2, "0.0032"), (505.3, 2, "505"), (999.7, 3, "1000"), (1400.96, 3, "1401"), (-0.002, 3, "-0.002")],
)
def test_numbers_for_people_have_few_digits_and_no_powers_of_ten(value: float, digits: int, text: str) -> None:
    assert short(value, digits) == text
