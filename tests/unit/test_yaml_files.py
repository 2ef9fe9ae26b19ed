"""YAML that people write: plain values, or one line that says what else is in the file."""

from pathlib import Path

import pytest

from pipelines.yaml_files import MAX_BYTES, MAX_VALUES, parse_yaml, read_yaml
from stylegan.config import ConfigError

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_plain_values_and_anchors_are_read() -> None:
    assert parse_yaml("a: &x [1, 2.5, null, true, text]\nb: *x") == {k: [1, 2.5, None, True, "text"] for k in "ab"}


@pytest.mark.parametrize("text", ["5e-05", "-5e-05", "5E5", "5.e-05", ".5e3", "1.5e3", "5e+05", "+5e5"])
def test_powers_of_ten_are_numbers_with_and_without_a_point(text: str) -> None:
    assert parse_yaml(f"a: [{text}]") == {"a": [float(text)]}


@pytest.mark.parametrize("text", ["e5", "5e", "5e-", "5e0x", "'5e-05'", "1e5f", "v1e5"])
def test_what_only_looks_like_a_power_of_ten_is_text(text: str) -> None:
    assert parse_yaml(f"a: {text}") == {"a": text.strip("'")}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor for the tag"),
        ("a: 2001-99-99", "month must be in 1..12"),
        ("a: 2001-12-14", "is a date; put it in quotes, or write a number"),
        ("a: !!set {x}", "is a set; put it in quotes"),
        ("a: " + "1" * 5000, "Exceeds the limit"),
        ("a: !!int x", "invalid literal for int"),
        ("1: a", "the key 1 is not text; put it in quotes"),
        ("? [a]\n: b", "a key is not text (line 1, column 3)"),
        ("a: 1\nb: {c: 1, c: 2}", "key c appears twice (line 2, column 11)"),
        ("a: &a [*a]", "nested more than 30 levels deep"),
        ("a: " + "[" * 50 + "]" * 50, "nested more than 30 levels deep"),
        ("[" * 100_000, "it is nested too deeply"),
        (BOMB, f"it holds more than {MAX_VALUES:,} values"),
        ("a:\n\tb: 1", "cannot start any token (line 2, column 1)"),
    ],
)
def test_what_is_not_plain_is_refused_in_one_line(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(tmp_path / "a.yaml", "a.yaml", "sections")
    assert str(caught.value).startswith("a.yaml: not valid YAML: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match="binary: not valid YAML: 'utf-8' codec can't decode byte 0xff"):
        read_yaml(tmp_path / "binary", "binary", "sections")
    (tmp_path / "long").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="settings have at most"):
        read_yaml(tmp_path / "long", "long", "sections")
    with pytest.raises(OSError, match="not a regular file"):
        read_yaml(tmp_path, "a folder", "sections")
