"""params.yaml is read whole and strictly; overrides and fingerprints are exact."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.params import Params, fingerprint, load, override
from stylegan.config import ConfigError

Make = Callable[..., Params]


def test_the_committed_parameters_are_valid(repository: Path) -> None:
    load(repository / "params.yaml")


def test_absent_file_says_how_to_get_it_back(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    with pytest.raises(FileNotFoundError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: file not found. Run from the repository root, or restore the file with `git restore {path}`."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- 1\n", "holds list, expected sections such as `train:`"),
        ("", "holds NoneType, expected sections such as `train:`"),
        ("train:\n  seed: 0\n  seed: 1\n", "not valid YAML: key seed appears twice"),
        ("train: [", "not valid YAML: "),
    ],
)
def test_a_file_that_is_no_parameters_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {expected}")


def test_overrides_are_read_as_yaml() -> None:
    result = override({"a": {"b": 1}}, ["a.b=null", "a.c=[1, 2.5]", "d.e=text", "a.f=true"])
    assert result == {"a": {"b": None, "c": [1, 2.5], "f": True}, "d": {"e": "text"}}


def test_an_override_takes_numbers_as_dvc_writes_them(make_params: Make) -> None:
    assert make_params("train.g_lr=5e-05").train.g_lr == 5e-05


def test_overrides_leave_the_original_alone() -> None:
    values = {"a": {"b": 1}}
    override(values, ["a.b=2"])
    assert values == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("train.seed", "override 'train.seed': expected section.key=value, such as train.total_kimg=100"),
        ("a.b.c=1", "override 'a.b.c=1': b is a value, not a section"),
        ("a.b=[1", "override 'a.b=[1': [1 is not a YAML value; quote it or close its bracket"),
    ],
)
def test_a_malformed_override_is_explained(assignment: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        override({"a": {"b": 1}}, [assignment])
    assert str(caught.value) == expected


def test_fingerprint_depends_on_every_value_and_digest_and_on_nothing_else(make_params: Make) -> None:
    first, same, other = make_params(), make_params(), make_params("train.seed=1")
    assert fingerprint(first.train, "abc") == fingerprint(same.train, "abc")
    assert len({fingerprint(first.train, "abc"), fingerprint(other.train, "abc"), fingerprint(first.train, "abd")}) == 3
