"""What kind of number a metric is, from its name."""

import pytest

from pipelines.artifacts.metric_names import distance_of, kind_of, label_of, metric_names, name_of, short


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        ("kid_efflite0", "kid"),
        ("kid50k_full", "kid"),
        ("fid50k_full", "fid"),
        ("frechet_random", "frechet"),
        ("fid_infinity_inception", "fid_infinity"),
        ("frechet_infinity_random", "fid_infinity"),
        ("precision_x", "precision"),
        ("pr50k3_full_precision", "precision"),
        ("pr50k3_full_recall", "recall"),
        ("is50k", "is"),
        ("is_inception", "is"),
        ("ppl2_wend", "ppl"),
        ("ppl_zfull", "ppl"),
        ("memorized_x", "memorized"),
        ("", ""),
    ],
)
def test_published_names_and_names_of_extractors_are_of_one_kind(metric: str, kind: str) -> None:
    assert kind_of(metric) == kind


def test_an_extractor_that_is_called_like_a_metric_changes_no_kind() -> None:
    assert [kind_of(name) for name in ("kid_recall", "precision_recall", "fid_my_infinity")] == [
        "kid", "precision", "fid"
    ]  # fmt: skip


def test_sentences_call_metrics_by_their_usual_name() -> None:
    assert [label_of(name) for name in ("kid_x", "fid50k_full", "frechet_random", "recall_x")] == [
        "KID", "FID", "Frechet distance", "recall"
    ]  # fmt: skip


def test_metrics_are_found_by_kind_and_psi_and_intervals_are_none() -> None:
    row = {"psi": 1.0, "fid_x": 9.0, "kid_x": 0.1, "intervals": {"kid_x": [0.0, 0.2]}}
    assert metric_names(row) == ["fid_x", "kid_x"]
    assert (name_of(row, "kid"), name_of(row, "recall")) == ("kid_x", None)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"fid_x": 9.0, "kid_x": 0.1}, "kid_x"),
        ({"fid_infinity_x": 8.0, "fid_x": 9.0}, "fid_x"),
        ({"frechet_random": 9.0}, "frechet_random"),
    ],
)
def test_results_are_judged_by_kid_or_without_it_by_fid(row: dict[str, float], name: str) -> None:
    assert distance_of(row) == name


def test_results_without_a_distance_say_what_to_add() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        distance_of({"psi": 1.0, "recall_x": 0.1})
    assert str(error.value) == "no kid, fid or frechet was measured. Add kid or fid to evaluate.metrics."


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.00322, 2, "0.0032"), (505.3, 2, "505"), (999.7, 3, "1000"), (1400.96, 3, "1401"), (-0.002, 3, "-0.002")],
)
def test_numbers_for_people_have_few_digits_and_no_powers_of_ten(value: float, digits: int, text: str) -> None:
    assert short(value, digits) == text
