"""Published names for published protocols alone."""

from collections.abc import Callable

import pytest

from pipelines.params import Params
from stylegan.metrics.evaluation.metric import KINDS
from stylegan.metrics.evaluation.names import MetricNames, metric_names, path_length_name
from stylegan.metrics.memorization import SIDE

Make = Callable[..., Params]
PUBLISHED = (
    "evaluate.num_images=50000",
    "evaluate.kid_num_subsets=100",
    "evaluate.kid_subset_size=1000",
    "evaluate.pr_neighbors=3",
    "evaluate.ppl_num_pairs=50000",
    "evaluate.ppl_epsilon=1.0e-4",
)


def names(make_params: Make, extractor: str, *changes: str, whole_set: int = 70_000) -> dict[str, str]:
    config = make_params(*PUBLISHED, *changes).evaluate
    found = metric_names(config, extractor, whole_set=whole_set)
    return {measure: getattr(found, measure).name for measure in MetricNames.__dataclass_fields__}


@pytest.mark.parametrize("extractor", ["inception", "vgg16", "random", "recall"])
def test_a_name_comes_with_its_kind_and_the_network_whatever_it_looks_like(make_params: Make, extractor: str) -> None:
    config = make_params(*PUBLISHED).evaluate
    found = metric_names(config, extractor, whole_set=70_000)
    named = {measure: getattr(found, measure) for measure in MetricNames.__dataclass_fields__}
    kinds = {measure: each.kind for measure, each in named.items()}
    assert kinds.pop("inception_score") == "is"
    assert kinds.pop("fid") == ("frechet" if extractor == "random" else "fid")
    assert all(measure == kind for measure, kind in kinds.items())
    copies = named.pop("memorized")
    assert (copies.name, copies.extractor) == (f"memorized_{SIDE}px", "thumbnails")  # no network looks for copies
    assert {each.extractor for each in named.values()} == {extractor}
    path = path_length_name("ppl_zfull", config, "vgg16")
    assert (path.kind, path.extractor) == ("ppl", "vgg16")
    assert {*kinds.values(), "is", "fid", "frechet", "ppl"} == KINDS.keys()


def test_inception_with_the_published_protocol_has_the_published_names(make_params: Make) -> None:
    assert names(make_params, "inception") == {
        "fid": "fid50k_full",
        "kid": "kid50k_full",
        "precision": "precision_inception",
        "recall": "recall_inception",
        "density": "density_inception",
        "coverage": "coverage_inception",
        "inception_score": "is50k",
        "fid_infinity": "fid_infinity_inception",
        "memorized": "memorized_8px",
    }


def test_vgg16_with_the_published_protocol_names_precision_and_recall(make_params: Make) -> None:
    found = names(make_params, "vgg16")
    assert (found["precision"], found["recall"]) == ("pr50k3_full_precision", "pr50k3_full_recall")
    assert (found["fid"], found["kid"], found["inception_score"]) == ("fid_vgg16", "kid_vgg16", "is_vgg16")


@pytest.mark.parametrize(
    ("change", "plain"),
    [
        ("evaluate.num_images=49999", {"fid", "kid", "inception_score", "precision", "recall"}),
        ("evaluate.kid_num_subsets=99", {"kid"}),
        ("evaluate.kid_subset_size=999", {"kid"}),
        ("evaluate.pr_neighbors=4", {"precision", "recall"}),
    ],
)
def test_a_departure_from_the_protocol_takes_the_name_away(make_params: Make, change: str, plain: set[str]) -> None:
    for extractor in ("inception", "vgg16"):
        before, after = names(make_params, extractor), names(make_params, extractor, change)
        changed = {key for key in before if before[key] != after[key]}
        published = {key for key, value in before.items() if "50k" in value}
        assert changed == plain & published
        assert not any("50k" in after[key] for key in changed)


def test_a_part_of_the_set_takes_full_out_of_the_name(make_params: Make) -> None:
    assert not any("full" in name for name in names(make_params, "inception", whole_set=0).values())
    assert not any("full" in name for name in names(make_params, "vgg16", whole_set=0).values())
    assert names(make_params, "inception", whole_set=0)["inception_score"] == "is50k"  # of no real image


def test_more_real_images_than_the_protocol_compares_with_take_its_name_away(make_params: Make) -> None:
    def published(extractor: str, count: int) -> set[str]:
        return {name for name in names(make_params, extractor, whole_set=count).values() if "full" in name}

    assert published("vgg16", 200_000) == {"pr50k3_full_precision", "pr50k3_full_recall"}
    assert published("vgg16", 200_001) == set()
    assert published("inception", 1_000_000) == {"fid50k_full", "kid50k_full"}
    assert published("inception", 1_000_001) == {"fid50k_full"}  # of any number


@pytest.mark.parametrize("extractor", ["efflite0", "random", "mine_0123abcd"])
def test_other_networks_never_have_a_published_name(make_params: Make, extractor: str) -> None:
    found = names(make_params, extractor)
    assert found == {
        "fid": "frechet_random" if extractor == "random" else f"fid_{extractor}",
        "kid": f"kid_{extractor}",
        "precision": f"precision_{extractor}",
        "recall": f"recall_{extractor}",
        "density": f"density_{extractor}",
        "coverage": f"coverage_{extractor}",
        "inception_score": f"is_{extractor}",
        "fid_infinity": "frechet_infinity_random" if extractor == "random" else f"fid_infinity_{extractor}",
        "memorized": "memorized_8px",
    }


@pytest.mark.parametrize(
    ("lpips", "change", "expected"),
    [
        ("vgg16", [], "ppl2_wend"),
        ("vgg16", ["evaluate.ppl_num_pairs=49999"], "ppl_vgg16"),
        ("vgg16", ["evaluate.ppl_epsilon=1.0e-3"], "ppl_vgg16"),
        ("lpips_vgg", [], "ppl_lpips_vgg"),
        ("random", [], "ppl_random"),
    ],
)
def test_path_length_has_its_published_name_by_the_public_vgg16_alone(
    make_params: Make, lpips: str, change: list[str], expected: str
) -> None:
    assert path_length_name("ppl2_wend", make_params(*PUBLISHED, *change).evaluate, lpips).name == expected


def test_legacy_path_lengths_keep_the_name_of_their_protocol(make_params: Make) -> None:
    config = make_params(*PUBLISHED).evaluate
    found = [path_length_name("ppl_zfull", config, lpips).name for lpips in ("vgg16", "lpips_vgg")]
    assert found == ["ppl_zfull", "ppl_zfull_lpips_vgg"]
