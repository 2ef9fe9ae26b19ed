"""README.md: the table of results is what its command writes from the measurements that are kept."""

import json
from pathlib import Path

import pytest

from benchmarks.readme_results import BEGIN, END, TRAININGS, kept_of, lines, read, with_results
from stylegan.files import sha256_of
from tests.evaluation_results import evaluation_results, metrics_of


def test_the_committed_table_is_what_the_command_writes(repository: Path) -> None:
    """Otherwise run `python -m benchmarks.readme_results`."""
    text = (repository / "README.md").read_text()
    assert with_results(text, read()) == text


def test_the_measured_files_are_those_that_the_rows_name(repository: Path) -> None:
    kept = read()
    assert kept.keys() == TRAININGS.keys()
    assert kept["earth32"]["generator_sha256"] == sha256_of(repository / "pretrained/earth32.safetensors")
    assert len({each["archive_sha256"] for each in kept.values()}) == 1, "measured against other images"
    counts = ("num_images", "num_real", "floor_num_images", "floor_num_real", "floor_num_splits", "extractor")
    assert len({json.dumps([each[name] for name in counts]) for each in kept.values()}) == 1, (
        "of other numbers of images"
    )


def test_rows_have_equal_numbers_of_images_and_kid_its_interval() -> None:
    numbers = {"kid_x": 0.4, "fid_x": 440.0, "precision_x": 0.02, "recall_x": 0.3}
    like = {"kid_x": 0.41, "fid_x": 450.0, "precision_x": 0.05, "recall_x": 0.2}
    real = tuple(metric.model_copy(update={"sd": 0.01}) for metric in metrics_of({name: 0.9 for name in numbers}))
    report = evaluation_results(numbers, floor={}, untrained={}, intervals={"kid_x": [0.38, 0.42]})
    report = report.model_copy(update={"floor": real, "like_floor": metrics_of(like)})
    first, *_, baseline = [line for line in lines(dict.fromkeys(TRAININGS, kept_of(report))) if line.startswith("| ")][
        1:
    ]
    assert first == "| 160 (`make repro`) | 15 to 36 min | 0.4 (0.38 to 0.42) | 450 | 0.050 | 0.200 |"
    assert baseline.startswith("| real images (the baseline) | | 0.9 (sd 0.01) |")


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="are not both there"):
        with_results(f"{END} before {BEGIN.upper()}", {})
