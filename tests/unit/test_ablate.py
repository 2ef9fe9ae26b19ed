"""What a ladder writes of what it found: measured and published figures apart; and how its command is read."""

import csv
import json
import math
import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.ablate import __main__ as ablate
from pipelines.ablate import figures, ladder_rows, runner, tables
from pipelines.ablate.ladder_rows import Standing
from pipelines.artifacts import ladder_json, metrics_json
from pipelines.artifacts.ladder_json import Quantiles
from pipelines.ladders import ladder
from pipelines.ladders.ladder import Ladder
from pipelines.params import Params, load, seeds_from
from pipelines.plan import __main__ as plan
from pipelines.plan.origins import row_choices
from pipelines.tracking.journal import Journal
from pipelines.train.follow import Place
from pipelines.train.identity import inputs_of
from stylegan.config import ConfigError
from stylegan.config.strict import parse
from stylegan.metrics.evaluation.metric import by_name
from tests.command_lines import run_or_exit
from tests.evaluation_results import evaluation_results, write_train_record
from tests.tick_rows import ticks

Make = Callable[..., Params]

FILE: dict[str, Any] = {
    "name": "x", "title": "Steps | of a ladder", "question": "What does <each> bring?", "source": "A paper, Table 1",
    "notes": ["Read this first."], "peaks": True,
    "rows": [
        {"name": "A", "label": "start",
         "published": {"FFHQ": {"fid": 4.40, "recall": 0.399, "from_memory": ["recall"]}}},
        {"name": "B", "label": "+ lever", "over": "A", "published": {"FFHQ": {"fid": 4.39}}},
        {"name": "C", "label": "start | otherwise", "over": "A"},
    ],
    "published": [{"label": "of no row", "data": "LSUN", "figures": {"fid": 9.99}}],
}  # fmt: skip
LADDER = parse(Ladder, FILE, "x.yaml")
TICKS = ticks(
    {"kimg": kimg, "nimg": 1000 * kimg, "sec": 9.0, "sec_per_kimg": sec, "memory_gb": memory}
    for kimg, sec, memory in ((4.0, 50.0, 1.0), (8.0, 4.0, 1.25), (12.0, 4.5, 1.25))
)
PEAKS = {
    res: Quantiles(num_maps=8.0, p1=1.5, p25=2.0, median=2.5 + res / 100, p75=3.0, p99=4.0, p99_9=5.0, max=6.0)
    for res in (4, 8)
}


def standing(name: str, kid: float, seed: int = 0, **changes: Any) -> Standing:
    metrics = {"kid_x": kid, "fid_x": 40 * kid, "density_x": 0.123, "precision_x": 0.5, "ppl_lpips_vgg16": 1400.0}
    report = evaluation_results(metrics, floor={}, untrained={}, intervals={"kid_x": [kid - 0.1, kid + 0.1]})
    return replace(
        Standing(LADDER.row(name), seed, f"run{name}", report, TICKS, (1234567, 890), 100, "ada", PEAKS), **changes
    )  # fmt: skip


FAILED = Standing(LADDER.row("B"), 0, problem="TrainError: not | finite")
FOUND = [standing("A", 0.7), FAILED, standing("C", 0.5)]
LINKS = {"rows": "http://127.0.0.1:5000/#/rows?a=1&b", "images": "http://127.0.0.1:5000/#/images"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "ablate" / "x"
    tables.write(FOUND, LADDER, folder, LINKS)
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_everything_promised_is_written(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == {
        "table.md", "table.csv", "published.csv", "index.html", "metrics.png", "peaks.png", "peaks.csv", "results.json",
    }  # fmt: skip


def test_table_and_page_link_to_the_rows_in_mlflow(written: Path, tmp_path: Path) -> None:
    page = (written / "index.html").read_text()
    assert "In MLflow (after `make ui`): [rows](http://127.0.0.1:5000/#/rows?a=1&b), [images](" in (
        (written / "table.md").read_text()
    )
    assert (
        '<a href="http://127.0.0.1:5000/#/rows?a=1&amp;b">rows</a>, <a href="http://127.0.0.1:5000/#/images">' in page
    )
    tables.write(FOUND, LADDER, tmp_path, {})
    assert not any("MLflow" in (tmp_path / name).read_text() for name in ("table.md", "index.html"))


def test_the_table_has_what_was_measured_and_nothing_that_depends_on_the_machine(written: Path) -> None:
    first, _, last = read_csv(written / "table.csv")
    assert {name: last[name] for name in ("kid_x", "kid_x_low", "kid_x_high", "density_x", "run")} == {
        "kid_x": "0.5", "kid_x_low": "0.4", "kid_x_high": "0.6", "density_x": "0.123", "run": "runC",
    }  # fmt: skip
    size = ("kimg", "G_parameters", "D_parameters", "num_images")
    assert [last[name] for name in size] == ["12.0", "1234567", "890", "100"]
    assert not {"sec_per_kimg", "memory_gb", "workers"} & set(last)
    assert (last["peak_median"], last["peak_p99_9"]) == ("2.58", "5.0")  # of the highest resolution
    assert (first["delta"], last["delta"], last["against"]) == ("", "-0.2", "A")


def test_what_a_row_took_is_told_apart_from_what_it_reached() -> None:
    took = {"row": "A", "seed": 0, "workers": 1, "sec_per_kimg": 4.5, "memory_gb": 1.25}
    assert [ladder_rows.costs(each) for each in FOUND] == [took, {}, took | {"row": "C"}]


def test_a_row_that_failed_has_no_number_and_says_why(written: Path) -> None:
    failed = read_csv(written / "table.csv")[1]
    assert {name for name, cell in failed.items() if cell} == {"row", "label", "seeds", "problem"}
    assert failed["seeds"] == "0"
    assert failed["problem"] == "TrainError: not | finite"
    for text in ((written / "table.md").read_text(), (written / "index.html").read_text()):
        assert "B (+ lever) failed: TrainError: not | finite" in text


def test_rows_that_were_not_run_are_named_and_what_an_earlier_table_left_is_removed(tmp_path: Path) -> None:
    tables.write(FOUND, LADDER, tmp_path, {})
    tables.write([FAILED], LADDER, tmp_path, {})
    assert {path.name for path in tmp_path.iterdir()} == {
        "table.md",
        "table.csv",
        "published.csv",
        "index.html",
        "results.json",
    }
    for text in ((tmp_path / "table.md").read_text(), (tmp_path / "index.html").read_text()):
        assert "not run: A, C" in text


def test_a_distance_that_is_no_number_is_not_the_best_and_makes_no_delta() -> None:
    sound = standing("A", 0.7)
    assert sound.report is not None
    kid, *others = sound.report.metrics
    broken = sound.report.model_copy(update={"metrics": (kid.model_copy(update={"value": math.nan}), *others)})
    rows = ladder_rows.measured_rows([replace(sound, report=broken), standing("C", 0.5)], LADDER)
    assert ladder_rows.lowest_of(rows) == "C"
    assert rows[1].delta is None
    assert ladder_rows.lowest_of(rows[:1]) is None


def test_a_metric_that_failed_at_one_row_costs_no_chart(tmp_path: Path) -> None:
    report = FOUND[0].report
    assert report is not None
    one = replace(FOUND[0], report=report.model_copy(update={"metrics": report.metrics[:1]}))
    tables.write([one, *FOUND[1:]], LADDER, tmp_path, {})
    assert (tmp_path / "metrics.png").exists()


def test_peaks_are_compared_at_a_resolution_that_all_rows_have() -> None:
    grown = {4: PEAKS[4]}  # of a snapshot that had not come further
    rows = ladder_rows.measured_rows([standing("A", 0.7, peaks=grown), standing("C", 0.5)], LADDER)
    assert [(row.peak_resolution, row.peak_median) for row in rows] == [(4, 2.54), (4, 2.54)]


def numbers_of(text: str) -> set[str]:
    return set(re.findall(r"\d+\.\d+", text))


def test_no_published_figure_stands_among_the_measured(written: Path) -> None:
    published = {"4.4", "4.39", "0.399", "9.99"}
    measured, quoted = (written / "table.md").read_text().split("## Published")
    page = (written / "index.html").read_text().split('<section id="published"')
    page[0] = re.sub(r"data:image/png;base64,[\w+/=]+|<style>.*?</style>", "", page[0], flags=re.DOTALL)
    for before, after in ((measured, quoted), page):
        assert not published & numbers_of(before)
        assert published <= numbers_of(after)
        assert not {"0.7", "0.5", "0.123"} & numbers_of(after)
    assert not published & numbers_of((written / "table.csv").read_text())
    rows = [(row["row"], row["data"], row["fid"], row["from_memory"]) for row in read_csv(written / "published.csv")]
    assert rows == [("A", "FFHQ", "4.4", "recall"), ("B", "FFHQ", "4.39", ""), ("", "LSUN", "9.99", "")]


def test_what_is_from_memory_says_so(written: Path) -> None:
    assert "| A | start | FFHQ | 4.4 | 0.399 (from memory) |" in (written / "table.md").read_text()
    assert '<td class="n">0.399 (from memory)</td>' in (written / "index.html").read_text()


def lines_of(text: str) -> list[str]:
    return [line for line in text.split("## Published")[0].splitlines() if line.startswith("|")]


def test_of_one_seed_nothing_is_bold_and_every_delta_says_that_one_seed_cannot_tell(written: Path) -> None:
    text, page = (written / "table.md").read_text(), (written / "index.html").read_text()
    head, rule, *rows = lines_of(text)
    assert {line.replace("\\|", "").count("|") for line in (head, rule, *rows)} == {head.count("|")}
    assert "**" not in text
    assert rows[2].startswith(
        "| C | start \\| otherwise | 0.5 [0.4, 0.6] | 20 | 0.5 | 1400 | -0.2 (one seed cannot tell) |"
    )
    assert '<td class="n">-0.2 (one seed cannot tell)</td>' in page
    assert not re.search('class="n (better|worse)"', page)
    for each in (text, page):
        assert "One training per row, 1000 generated against 2000 real images" in each
        assert "One seed cannot tell whether a delta is more than the spread between runs." in each
    assert "1,234,567" in rows[0]
    assert "density" not in head
    assert "What does &lt;each&gt; bring?" in page
    assert "Read this first." in page


def seeded(**kids: Sequence[float]) -> list[Standing]:
    """Rows with a run for each KID"""
    return [
        standing(name, kid, seed, run=f"run{name}{seed}")
        for name, values in kids.items()
        for seed, kid in enumerate(values)
    ]


SEEDED = seeded(A=[0.7, 0.72, 0.74], B=[0.71, 0.75, 0.79], C=[0.5, 0.52, 0.51])


def test_of_several_seeds_only_a_difference_beyond_their_spread_is_claimed_and_bold(tmp_path: Path) -> None:
    tables.write(SEEDED, LADDER, tmp_path, {})
    text, page = (tmp_path / "table.md").read_text(), (tmp_path / "index.html").read_text()
    assert "Means of 3 trainings per row" in text
    _, _, a, b, c = lines_of(text)
    assert a.startswith("| A | start | 0.72 (sd 0.02) |")
    assert "| 0.03 [-0.0795, 0.14] within the spread |" in b
    assert "| **-0.21 [-0.265, -0.155] better** |" in c
    assert text.count("**") == 2
    assert '<td class="n better">-0.21 [-0.265, -0.155] better</td>' in page
    assert page.count('class="n better"') == 1


def test_programs_get_mean_deviation_and_every_run(tmp_path: Path) -> None:
    tables.write(SEEDED, LADDER, tmp_path, {})
    found = ladder_json.read(tmp_path)
    last = found.rows[2]
    kid = by_name(last.metrics)["kid_x"]
    assert (kid.value, kid.sd, kid.interval) == (pytest.approx(0.51), pytest.approx(0.01), None)
    assert [(run.seed, run.run, by_name(run.metrics)["kid_x"].value) for run in last.runs] == [
        (0, "runC0", 0.5), (1, "runC1", 0.52), (2, "runC2", 0.51),
    ]  # fmt: skip
    assert (last.verdict, last.against, found.rows[1].verdict, found.lowest) == ("better", "A", None, "C")
    cells = read_csv(tmp_path / "table.csv")[2]
    names = ("seeds", "kid_x_sd", "delta_low", "delta_high", "verdict", "run")
    assert [cells[name] for name in names] == ["3", "0.01", "-0.2647", "-0.1553", "better", "runC0 runC1 runC2"]
    numbers = ladder_rows.series(SEEDED, LADDER)  # as MLflow shows them
    assert (numbers["C/kid_x"], numbers["C/kid_x_sd"], numbers["C/seeds"]) == (kid.value, kid.sd, 3)


def test_a_seed_that_fails_is_told_and_the_others_count() -> None:
    lost = replace(FAILED, seed=1)
    rows = ladder_rows.measured_rows([standing("A", 0.7), standing("B", 0.6), lost], LADDER)
    assert (rows[1].problem, len(rows[1].runs), rows[1].delta) == ("seed 1: TrainError: not | finite", 1, -0.1)
    assert rows[1].delta_interval is None
    assert tables.problems(rows, LADDER)[0] == "B (+ lever) failed: seed 1: TrainError: not | finite"


def test_the_page_holds_everything_and_fetches_nothing(written: Path) -> None:
    page = (written / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 4  # two charts, each light and dark
    assert not re.search(
        r"(src|srcset|<link[^>]*href)=\"(?!data:|#)", page
    )  # a link that people follow fetches nothing
    assert "--ink: #1f2328" in page  # the style of the report


@pytest.mark.parametrize("name", ["metrics", "peaks"])
def test_charts_are_pictures(written: Path, name: str) -> None:
    with Image.open(written / f"{name}.png") as picture:
        assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 8, "nothing is drawn"


def test_peaks_are_written_by_resolution(written: Path) -> None:
    rows = read_csv(written / "peaks.csv")
    assert [(row["row"], row["resolution"], row["median"]) for row in rows] == [
        ("A", "4", "2.54"), ("A", "8", "2.58"), ("C", "4", "2.54"), ("C", "8", "2.58"),
    ]  # fmt: skip


def test_when_all_failed_there_is_still_a_page(tmp_path: Path) -> None:
    tables.write([FAILED], LADDER, tmp_path, {})
    assert "failed: TrainError" in (tmp_path / "table.md").read_text()
    assert "failed: TrainError" in (tmp_path / "index.html").read_text()
    assert not (tmp_path / "metrics.png").exists()


def test_sizes_are_drawn_against_the_number_of_images_a_line_for_each_mode() -> None:
    def drawn(last_size: int, last_mode: str) -> bytes:
        rows = ladder_rows.measured_rows([standing("A", 0.7), standing("C", 0.5)], LADDER)
        rows[0] = rows[0].model_copy(update={"num_images": 10, "mode": "none"})
        rows[1] = rows[1].model_copy(update={"num_images": last_size, "mode": last_mode})
        return figures.against_size(rows, tables.shown_metrics(rows), dark=False)

    assert len({drawn(100, "none"), drawn(1000, "none"), drawn(100, "ada")}) == 3


def test_kimg_and_gpus_scale_the_ladder_and_what_is_written_out_goes_over_them(repository: Path) -> None:
    options = Namespace(kimg=5000.0, gpus=2, seeds="3", overrides=["cluster.num_workers=1"])
    params = load(repository / "params.yaml", ablate.scaled(options))
    assert (params.ablate.total_kimg, params.cluster.num_workers, params.cluster.use_gpu) == (5000.0, 1, True)
    assert seeds_from(params.ablate.seeds, 7) == (7, 8, 9)
    assert ablate.scaled(Namespace(kimg=None, gpus=None, seeds=None, overrides=[])) == []


def test_seeds_are_a_number_or_a_list(repository: Path) -> None:
    options = Namespace(kimg=None, gpus=None, seeds="0,5", overrides=[])
    assert seeds_from(load(repository / "params.yaml", ablate.scaled(options)).ablate.seeds, 7) == (0, 5)
    with pytest.raises(
        ConfigError, match=r"ablate\.seeds is \[1, 1\]; expected a number of seeds such as 3, or distinct"
    ):
        load(repository / "params.yaml", ["ablate.seeds=[1, 1]"])


# Running rows, with what Ray would do left out.


class Bench:
    """A work tree in which training and measuring are replaced by files."""

    def __init__(self, folder: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.params = folder, params
        self.trained: list[str] = []
        self.seeds: list[int] = []
        self.places: list[tuple[int, int]] = []  # of the rows that trained
        self.spoilt: set[str] = set()  # architectures that fail
        monkeypatch.setattr(runner, "run_experiment", self.run)
        monkeypatch.setattr(runner, "evaluated", self.evaluated)
        monkeypatch.setattr(runner.connection, "connect", lambda cluster: nullcontext())

    def run(self, params: Params, root: Path, state: Path, place: Place) -> Path:
        self.places.append((place.number, place.count))
        out = inputs_of(params, root, state).fixed_folder
        self.trained.append(params.generator.architecture)
        self.seeds.append(params.train.seed)
        if params.generator.architecture in self.spoilt:
            raise RuntimeError("the gradients\nare not finite")
        write_train_record(out)
        (out / "ticks.jsonl").write_text(json.dumps(TICKS[0].columns) + "\n")
        return out

    def evaluated(self, params: Params, folder: Path, root: Path, state: Path) -> Path:
        metrics_json.write(folder / "metrics.json", evaluation_results({"kid_x": 0.5}, floor={}, untrained={}))
        return folder

    def ablate(self, *rows: str) -> list[Standing]:
        found = LADDERS_ROWS.model_copy(update={"peaks": False})
        return runner.ablate(self.params, found, rows, self.folder, self.folder / "runs", self.folder / "reports")


LADDERS_ROWS = parse(
    Ladder,
    {
        "name": "g", "title": "t", "question": "q", "source": "s",
        "rows": [{"name": name, "label": name, "params": {"generator.architecture": name}}
                 for name in ("orig", "skip", "resnet")],
    },
    "g.yaml",
)  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path, tiny_archive: Path, make_params: Make, monkeypatch: pytest.MonkeyPatch) -> Bench:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "archive.zip").write_bytes(tiny_archive.read_bytes())
    return Bench(tmp_path, make_params(f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"), monkeypatch)


def test_a_failing_row_is_reported_and_the_same_command_tries_it_alone_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "publishing", lambda journal, tracking: nullcontext())
    for name in ("tell_views", "save_views"):
        monkeypatch.setattr(runner, name, lambda config, views: {})
    monkeypatch.setattr(runner, "record_measurement", lambda *measured: None)
    bench.spoilt = {"skip"}
    found = bench.ablate()
    assert bench.trained == ["orig", "skip", "resnet"]
    assert bench.places == [(1, 3), (2, 3), (3, 3)]
    assert "row 2 of 3: skip (skip)\n" in capsys.readouterr().out
    assert [each.problem for each in found] == [None, "RuntimeError: the gradients are not finite", None]
    bench.spoilt = set()
    found = bench.ablate()  # finished rows are found again
    assert bench.trained == ["orig", "skip", "resnet", "skip"]
    assert [each.problem for each in found] == [None, None, None]
    (table,) = (bench.folder / "runs").glob("ladder-g-*")
    records = [record for record, _ in Journal(table).read(0)]
    assert {record["name"] for record in records if record["kind"] == "artifact"} >= {"table.md", "index.html"}
    assert [record["status"] for record in records if record["kind"] == "status"] == ["FAILED", "FINISHED"]
    for each, row in zip(found, LADDERS_ROWS.rows, strict=True):
        params = ladder.of_row(bench.params, LADDERS_ROWS, row.name, lambda: 0)
        folder = inputs_of(params, bench.folder, bench.folder / "runs").fixed_folder
        assert each.run == folder.name
        (tags,) = (record["values"] for record, _ in Journal(folder).read(0) if "ladder" in record.get("values", ()))
        assert tags == {"ladder": "g", "ladder_record": "row", "ladder_row": row.name, "ladder_run": table.name}


def test_each_row_trains_with_each_seed_and_the_runs_of_one_seed_are_found_again(
    bench: Bench, make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "publishing", lambda journal, tracking: nullcontext())
    for name in ("tell_views", "save_views"):
        monkeypatch.setattr(runner, name, lambda config, views: {})
    monkeypatch.setattr(runner, "record_measurement", lambda *measured: None)
    (alone,) = bench.ablate("orig")
    bench.params = make_params("ablate.seeds=2", f"tracking.uri=sqlite:///{bench.folder}/mlflow.db")
    found = bench.ablate("orig", "skip")
    assert [(each.row.name, each.seed) for each in found] == [("orig", 0), ("skip", 0), ("orig", 1), ("skip", 1)]
    assert found[0].run == alone.run, "the run of one seed is one of those of two"
    assert list(zip(bench.trained, bench.seeds, strict=True)) == [("orig", 0), ("skip", 0), ("orig", 1), ("skip", 1)]
    assert bench.places == [(1, 1), (2, 4), (3, 4), (4, 4)]
    assert [len(row.runs) for row in ladder_json.read(bench.folder / "reports").rows] == [2, 2]


def test_an_unknown_row_is_named_before_anything_is_trained(bench: Bench) -> None:
    with pytest.raises(ConfigError) as caught:
        bench.ablate("orig", "skipp")
    assert str(caught.value) == "ladder g: skipp is not a row; did you mean skip?"
    assert bench.trained == []


def test_metrics_without_a_distance_are_refused_before_anything_is_trained(bench: Bench, make_params: Make) -> None:
    bench.params = make_params("ablate.metrics=[pr]")
    with pytest.raises(ConfigError, match=r"^ladder g, row orig: ablate\.metrics is \['pr'\] and lacks a distance"):
        bench.ablate()
    assert bench.trained == []


# The same values written into params.yaml.


def test_a_row_can_become_the_parameters_of_the_project(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "params.yaml"
    assert plan.main(["--row", "demo/path", "--base", str(repository / "params.yaml"), "--out", str(out)]) == 0
    before, after = load(repository / "params.yaml"), load(out)
    assert (after.loss.pl_weight, after.generator.architecture, after.augment.mode) == (2, "skip", "ada")
    assert after.train.total_kimg == before.train.total_kimg
    assert "# stage train: archive" in out.read_text()


def test_a_row_lies_over_the_preset_and_the_command_line(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "params.yaml"
    base = ["--base", str(repository / "params.yaml"), "--out", str(out)]
    preset = ["--preset", "paper256", "--gpus", "8", "prepare.resolution=256"]
    assert plan.main(["--row", "stylegan2/F", *preset, *base]) == 0
    assert load(out).generator.channel_base == 2 * 16384
    out.unlink()
    assert plan.main(["--row", "stylegan2/A", *preset, "train.total_kimg=50000", *base]) == 0
    assert load(out).train.grow_stable_kimg == 1200


def test_a_share_of_the_images_needs_the_archive(
    repository: Path, tmp_path: Path, tiny_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load(repository / "params.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data/archive\.zip"):
        row_choices("sizes/ada-half", base)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "archive.zip").write_bytes(tiny_archive.read_bytes())
    found = row_choices("sizes/ada-half", base)["data.max_images"]
    assert (found.value, found.origin) == (9, "--row sizes/ada-half")


def test_plan_refuses_what_is_no_row(repository: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        run_or_exit(plan.main, "--row", "demo", "--base", str(repository / "params.yaml"), "--dry-run")
    assert str(caught.value) == "ladder demo: no row is not a row; known keys: ada, path, plain, skip"
