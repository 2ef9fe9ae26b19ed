"""Numbers and their nouns."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from stylegan.wording import counted

# Where a count is never 1: a plural may follow it. Everything else of pipelines/ goes through `counted`.
NEVER_ONE = {
    "{done}/{total} images": "a pace, as 1/3 images",
    "{len(candidates)}": "of the psi values that are compared", "{num_images} images": "at least two are generated",
    "{results.num_images} images": "at least two are generated", "{len(WANTED)} files": "a constant",
    "{params.train.batch_size} images": "a setting", "{own.batch} images": "of a table", "{rounds}": "if above 1",
    "{rounds * batch_gpu} images": "if above 1", "{batch} images": "fewer than GPUs", "{total} images": "shares of all",
    "{len(found.read)} images": "shares of all", "{len(found.good)} images": "shares of all",
    "{plan.num_good + len(plan.bad)} images": "shares of all", "{copies} images": "of archives split by others",
    "{len(vectors.max)} numbers": "of a label", "{', '.join(counts)} images": "a list",
    "{len(trial.runs)} trainings": "if above 1", "{num_seeds} seeds": "if above 1",
    "{results.floor_num_images} others": "at least two",
    "{count} times": "if above 1", "{g_count} parameters": "of a network", "{workers} process": "a plural of its own",
}  # fmt: skip
COUNT = re.compile(r"len\(|num_|count|total|workers|rounds|batch|trials|copies")


@pytest.mark.parametrize(("count", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1234, "1,234 rows")])
def test_a_noun_agrees_with_its_number(count: int, text: str) -> None:
    assert counted(count, "row") == text
    assert counted(count, "is", "are") == text.replace("rows", "are").replace("row", "is")


def plurals(path: Path) -> Iterator[str]:
    """Counts in f-strings that a plural follows"""
    for node in ast.walk(ast.parse(path.read_text())):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for value, after in pairwise(parts):
            if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
                name, noun = ast.unparse(value.value), re.match(r" ([a-z]+s)\b(?<!is)(?<!as)(?<!was)", str(after.value))
                if noun and COUNT.search(name) and "counted(" not in name:
                    yield f"{{{name}}} {noun[1]}"


def test_no_count_that_may_be_one_is_followed_by_a_plural(repository: Path) -> None:
    files = sorted((repository / "pipelines").rglob("*.py"))
    found = {f"{path.name}: {text}" for path in files for text in plurals(path)}
    assert [text for text in found if not any(known in text for known in NEVER_ONE)] == []
