"""What gives a run its name: everything that decides weights and nothing else, of parameters, files and code."""

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import stylegan
from pipelines.code_digest import code_digest, syntax_of
from pipelines.evaluate.on_cluster import MEASURING_CODE
from pipelines.params import TRAINED_SECTIONS, Params, decides_weights, flatten
from pipelines.train.identity import CODE, MONITOR_CODE, fixed_name_of, name_of, yardstick_of
from stylegan.metrics.extractors import RandomExtractor

Make = Callable[..., Params]


def name(params: Params, archive: str = "a") -> str:
    return name_of(params, archive, None)


WEIGHTS = [
    "train.seed=1",
    "train.batch_gpu=2",  # a micro-batch has random numbers and groups of its own
    "loss.r1_gamma=3.0",
    "augment.p=0.1",
    "data.xflip=true",
    "generator.w_dim=4",
    "train.g_lr=0.1",
    "train.kernels=stock",  # as on a GPU, where it rounds otherwise
    "train.allow_tf32=true",
]  # fmt: skip
NO_WEIGHTS = [
    "train.total_kimg=0.064", "train.tick_kimg=0.004", "train.snapshot_ticks=2", "monitor.num_images=9",
    "monitor.export=last", "monitor.extractor_input_size=24", "monitor.pr_neighbors=2",
]  # fmt: skip
ELSEWHERE = ["cluster.max_failures=7", "tracking.experiment=x", "evaluate.seed=1"]


@pytest.mark.parametrize("change", WEIGHTS)
def test_a_changed_parameter_that_decides_weights_is_another_run(change: str, make_params: Make) -> None:
    assert name(make_params(change)) != name(make_params())


@pytest.mark.parametrize("change", [*NO_WEIGHTS, *ELSEWHERE])
def test_when_to_stop_what_to_look_at_and_how_to_run_do_not_name_the_run(change: str, make_params: Make) -> None:
    assert name(make_params(change)) == name(make_params())


@pytest.mark.parametrize(("changes", "matters"), [([*WEIGHTS, *NO_WEIGHTS], True), (ELSEWHERE, False)])
def test_an_experiment_is_also_named_by_its_length_and_its_monitor(
    changes: list[str], matters: bool, make_params: Make
) -> None:
    for change in changes:
        fixed = fixed_name_of(make_params(change), "a", None, None)
        assert (fixed != fixed_name_of(make_params(), "a", None, None)) == matters


def test_every_parameter_of_training_has_a_side(make_params: Make) -> None:
    paths = [path for path in flatten(make_params().model_dump(mode="json")) if path.startswith(TRAINED_SECTIONS)]
    outside = {path for path in paths if not decides_weights(path)}
    monitor = {path for path in paths if path.startswith("monitor.")}
    lengths = {f"train.{name}" for name in ("total_kimg", "tick_kimg", "snapshot_ticks")}
    assert outside == monitor | lengths | {"train.resume_from"}  # of which the content counts


def test_another_archive_is_another_run(make_params: Make) -> None:
    assert name(make_params()) != name(make_params(), archive="b")


def test_networks_to_start_from_name_a_run_by_their_content_and_not_by_their_place(
    make_params: Make, tmp_path: Path
) -> None:
    names = set()
    for place, content in (("a", "first"), ("a", "second"), ("b", "first")):
        (tmp_path / place).write_text(content)
        names.add(name_of(make_params(f"train.resume_from=pretrained/{place}"), "archive", tmp_path / place))
    assert len(names) == 2
    assert name(make_params(), "archive") not in names


def test_another_network_that_chooses_the_snapshot_is_another_experiment_and_yardstick_but_no_other_run(
    make_params: Make,
) -> None:
    params, extractor = make_params(), RandomExtractor(input_size=16)
    found = fixed_name_of(params, "a", None, extractor), yardstick_of(params, extractor)
    assert found == (fixed_name_of(params, "a", None, extractor), yardstick_of(params, extractor))
    extractor.sha256 = "another"
    assert fixed_name_of(params, "a", None, extractor) != found[0]
    assert yardstick_of(params, extractor) != found[1]
    assert yardstick_of(params, None) is None


def test_what_is_exported_is_no_part_of_the_yardstick_and_what_is_measured_is(make_params: Make) -> None:
    extractor = RandomExtractor(input_size=16)
    before = yardstick_of(make_params(), extractor)
    assert yardstick_of(make_params("monitor.export=last", "train.total_kimg=1.0"), extractor) == before
    assert yardstick_of(make_params("monitor.num_images=9"), extractor) != before


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Path:
    """A copy of the sources, which digests are of"""
    for package in ("stylegan", "pipelines"):
        for file in (repository / package).rglob("*.py"):
            target = tmp_path / file.relative_to(repository)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    monkeypatch.setattr(stylegan, "__file__", str(tmp_path / "stylegan" / "__init__.py"))
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "other"),
    [
        ("stylegan/loss.py", "config.r1_gamma / 2", "config.r1_gamma / 1"),
        ("stylegan/config/augmentation.py", '("ada", "ada_rv")', '("ada",)'),
        ("stylegan/config/augmentation.py", 'augment.mode == "fixed"', 'augment.mode == "none"'),
        ("stylegan/data/layout.py", '".avif"', '".heic"'),
        ("stylegan/checkpoint.py", "state.p = header.state.p", "state.p = 0.0"),
        ("stylegan/state.py", "2.0**-20", "2.0**-10"),
        ("pipelines/artifacts/dataset.py", 'SPLIT: Split = "train"', 'SPLIT: Split = "all"'),
        ("pipelines/train/start.py", "xflip=data.xflip", "xflip=False"),
    ],
)
def test_a_changed_value_in_code_that_decides_weights_is_another_run(
    file: str, text: str, other: str, copied: Path
) -> None:
    before, content = code_digest(CODE), (copied / file).read_text()
    assert content.count(text) == 1
    (copied / file).write_text(content.replace(text, other))
    assert code_digest(CODE) != before


def test_digests_follow_the_files_that_they_name_and_no_other_and_no_comment(copied: Path) -> None:
    for entries, changed, others in (
        (CODE, ["stylegan/networks/layers.py"], ["stylegan/metrics/kid.py", "stylegan/config/sections.py"]),
        (MONITOR_CODE, ["stylegan/metrics/kid.py"], ["stylegan/networks/layers.py"]),
        (
            MEASURING_CODE,
            ["stylegan/metrics/evaluation/floor.py", "stylegan/metrics/fid.py", "stylegan/data/decoders.py"],
            ["stylegan/networks/layers.py"],
        ),
    ):
        before = code_digest(entries)
        for file in others:
            (copied / file).write_text((copied / file).read_text() + "\nchanged = 1\n")
        for file in changed:
            (copied / file).write_text((copied / file).read_text() + "\n# a comment\n")
        assert code_digest(entries) == before
        for file in changed:
            (copied / file).write_text((copied / file).read_text() + "\nchanged = 1\n")
        assert code_digest(entries) != before


def test_sections_declare_and_compute_nothing(repository: Path) -> None:
    """Otherwise what they compute could decide weights, and no digest would know."""
    tree = ast.parse((repository / "stylegan/config/sections.py").read_text())
    methods = [item for node in tree.body if isinstance(node, ast.ClassDef) for item in node.body
               if isinstance(item, ast.FunctionDef)]  # fmt: skip
    assert methods
    for method in methods:
        assert [re.sub(r"\(.*", "", ast.unparse(each)) for each in method.decorator_list] == ["model_validator"]
        assert ast.unparse(method.body[-1]) == "return self", method.name


def test_only_what_code_does_is_in_its_syntax() -> None:
    def syntax(code: str) -> str:
        return "".join(syntax_of(ast.parse(code)))

    function = "def f(x):\n    {}\n    return x / 2"
    assert syntax(function.format('"""Half."""')) == syntax(function.format('"""Other words."""  # a comment'))
    assert syntax("x = (1,\n  2)") == syntax("x = 1, 2  # two")
    different = [
        "x / 2",
        "x / 2.0",
        "x // 2",
        "y / 2",
        "'x' / 2",
        "f(x, 2)",
        "f(x=2)",
        "f(*x)",
        "f(**x)",
        "[x, 2]",
        "(x, 2)",
    ]
    assert len({syntax(code) for code in different}) == len(different)


@pytest.mark.parametrize(
    "codes",
    [
        ("x[:n]", "x[n:]", "x[::n]"),
        ("if a: b\nelse: c", "if a:\n  b\n  c"),
        ("for a in b: c\nelse: d", "for a in b:\n  c\n  d"),
        ("try: a\nexcept E: b\nelse: c", "try: a\nexcept E: b\nfinally: c"),
        ("def f(*, a, b=1): c", "def f(*, a=1, b): c"),
        ("def f(a, *b): c", "def f(a, b): c", "def f(a, **b): c"),
        ("{**a, k: v}", "{k: a, **v}"),
        ("x = None", "x = ...", "x: None"),
    ],
)
def test_what_differs_in_its_places_alone_differs_in_its_syntax(codes: Sequence[str]) -> None:
    found = {"".join(syntax_of(ast.parse(code))) for code in codes}
    assert len(found) == len(codes)
