"""Every sentence of verdicts, frontier, alarms and advice, over a grid of their inputs: none contradicts another."""

import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

import pytest

from pipelines.artifacts.metrics_json import MetricsReport, Truncation
from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis import advice, frontier, training_curves, verdict
from pipelines.diagnosis.alarms import Alarm, alarms
from pipelines.params import Params, load
from tests.conftest import REPOSITORY, TINY
from tests.evaluation_results import evaluation_results, truncation
from tests.tick_rows import ticks

SETTINGS: tuple[tuple[str, ...], ...] = (
    ("augment.mode=ada", "augment.p_max=0.8"),
    ("augment.mode=ada", "augment.p_max=0.3", "loss.r1_gamma=0"),
    ("augment.mode=ada", "augment.p_max=0.0", "data.xflip=true"),
    ("augment.mode=ada", "augment.p_max=1.0"),
    ("augment.mode=ada_rv", "augment.p_max=0.8", "prepare.holdout_fraction=0.2"),
    ("augment.mode=ada_rv", "augment.p_max=0.5", "prepare.holdout_fraction=0.2", "loss.adversarial=wgan_gp"),
    ("augment.mode=none",),
    ("augment.mode=none", "loss.adversarial=wgan_gp", "loss.d_regularizer=gp", "loss.gp_weight=10.0"),
    ("augment.mode=none", "generator.architecture=msg", "discriminator.architecture=msg"),
    ("augment.mode=fixed", "augment.p=0.5"),
    ("augment.mode=diffaugment",),
)
# Of snapshots 10 kimg apart: KID, recall and spread.
COURSES: dict[str, Sequence[tuple[float, float, float]]] = {
    "unmeasured": (),
    "improving": ((0.5, 0.1, 0.5), (0.3, 0.2, 0.7), (0.2, 0.3, 0.8), (0.1, 0.4, 0.9)),
    "rising": ((0.5, 0.1, 0.5), (0.1, 0.3, 0.9), (0.6, 0.2, 0.8), (0.7, 0.2, 0.8)),
    "recovered": ((0.1, 0.3, 0.9), (0.6, 0.2, 0.8), (0.7, 0.2, 0.8), (0.05, 0.4, 0.9)),
    "best without recall": ((0.5, 0.1, 0.5), (0.4, 0.2, 0.5), (0.2, 0.0, 0.5), (0.1, 0.0, 0.5)),
    "alike": ((0.5, 0.1, 0.5), (0.4, 0.2, 0.5), (0.3, 0.1, 0.01), (0.2, 0.1, 0.01)),
    "not finite": ((0.5, 0.1, 0.5), (0.3, 0.2, 0.7), (math.nan, 0.0, math.nan), (math.nan, 0.0, math.nan)),
    "never finite": ((math.nan, 0.0, math.nan),) * 4,
}
GRID: dict[str, Sequence[Any]] = {
    "settings": range(len(SETTINGS)),
    "course": list(COURSES),
    "overfitting": (None, 0.0, 0.55, 0.65, 0.95),  # r_t and r_v; ada_target is 0.5
    "p": (None, 0.0, 0.29, 0.5, 0.79, 1.0),
    "gap": (0.2, 12.0),
    "distance": ("kid_x", "fid_x"),
    "value": (math.nan, -0.002, 0.001, 0.0011, 0.004, 0.04, 0.1, 0.38, 0.4, 0.5, 50.0),
    "floor": (None, -0.0005, 0.001),
    "untrained": (0.0005, 0.4, 3.07),
    "half": (None, 0.001, 0.02, 0.5),  # of the confidence interval
    "precision": (0.0, 0.1, 0.3, 0.8),
    "recall": (0.0, 0.1, 0.4, 0.8),
    "memorized": (None, 0.0, 0.02, 0.3),
    "num_images": (2, 1000, 50_000),
    "psis": ((1.0,), (0.5, 0.7, 1.0)),
    "error": (None, 0.0001, 0.05, 1.0),  # of differences between psi
}


@dataclass(frozen=True)
class Said:
    """All that a report says of one case."""

    params: Params
    report: MetricsReport
    ticks: Sequence[TickRow]
    judged: Sequence[verdict.Verdict]
    headline: str
    advice: Sequence[advice.Advice]
    alarms: Sequence[Alarm]
    other: Sequence[str]

    @property
    def sentences(self) -> list[str]:
        advised = [f"{item.action} {item.because}" for item in self.advice]
        return [self.headline, *self.other, *advised, *(alarm.text for alarm in self.alarms)]

    @property
    def actions(self) -> str:
        return " ".join(item.action for item in self.advice)


@pytest.fixture(scope="module")
def params() -> list[Params]:
    overrides = (*TINY, "augment.ada_target=0.5", "augment.p=0.0", "train.total_kimg=40", "loss.r1_gamma=0.01")
    return [load(REPOSITORY / "params.yaml", [*overrides, *changes]) for changes in SETTINGS]


def cases(count: int | None) -> Iterator[dict[str, Any]]:
    """So many random cases; or 5000 and every pair of values of two inputs among others"""
    draw, names = random.Random(0), list(GRID)
    for _ in range(count or 5000):
        yield {name: draw.choice(GRID[name]) for name in names}
    for one, two in combinations(names, 2) if count is None else ():
        for pair in product(GRID[one], GRID[two]):
            yield {name: draw.choice(GRID[name]) for name in names} | dict(zip((one, two), pair, strict=True))


def log_of(case: dict[str, Any]) -> list[TickRow]:
    rows = []
    for number, (kid, recall, spread) in enumerate(COURSES[case["course"]] or ((None,) * 3,) * 4, start=1):
        row = {"kimg": 10.0 * number, "augment/p": case["p"], "augment/r_t": case["overfitting"]}
        row |= {"augment/r_v": case["overfitting"], "logits/real": case["gap"], "logits/gen": 0.0}
        row |= {"monitor/kid": kid, "monitor/kid_se": 0.01, "monitor/recall": recall, "monitor/spread": spread}
        row |= {"monitor/precision": 0.3, "loss/G": 1.0, "loss/D": 1.0}
        rows.append({name: value for name, value in row.items() if value is not None})
    return ticks(rows)


def sweep_of(case: dict[str, Any], numbers: dict[str, float], bounds: dict[str, Sequence[float]]) -> list[Truncation]:
    """psi below 1 has more precision, less recall and a distance that is 5% apart"""
    rows = []
    for psi in case["psis"]:
        away = 1 - psi
        other = numbers | {
            case["distance"]: numbers[case["distance"]] + 0.05 * away * abs(numbers[case["distance"]]),
            "precision_x": min(numbers["precision_x"] * (1 + away), 1), "recall_x": numbers["recall_x"] * psi,
        }  # fmt: skip
        rows.append(truncation(psi, numbers if psi == 1 else other, bounds))
    return rows


def say(case: dict[str, Any], params: Params) -> Said:
    numbers = {case["distance"]: case["value"], "precision_x": case["precision"], "recall_x": case["recall"]}
    bounds = {} if case["half"] is None else {case["distance"]: [case["value"] + s * case["half"] for s in (-1, 1)]}
    floor = {} if case["floor"] is None else {case["distance"]: case["floor"], "precision_x": 0.8, "recall_x": 0.8}
    if case["memorized"] is not None:
        numbers, floor = numbers | {"memorized_x": case["memorized"]}, floor | {"memorized_x": 0.02}
    rows = sweep_of(case, numbers, bounds)
    errors = {} if case["error"] is None else {
        frozenset(pair): case["error"] for pair in combinations(case["psis"], 2)
    }  # fmt: skip
    report = evaluation_results(
        numbers, floor=floor, untrained={case["distance"]: case["untrained"], "precision_x": 0.0, "recall_x": 0.0},
        intervals=bounds, sweep=rows, num_images=case["num_images"], floor_num_images=min(case["num_images"], 1000),
        recommended=frontier.recommend(rows, frontier.Noise(errors, errors)),
    )  # fmt: skip
    log, judged = log_of(case), verdict.verdicts(report)
    readings = [line for _, line in training_curves.readings(log, params)]
    return Said(
        params, report, log, judged, verdict.headline(judged), advice.advice(judged, report, log, params),
        alarms(log, params), [verdict.summary(judged, report.num_images), report.recommended.sentence, *readings],
    )  # fmt: skip


def grade(said: Said) -> verdict.Grade | None:
    return said.judged[0].grade


def overfits(said: Said) -> bool | None:
    augment, measured = said.params.augment, said.ticks[-1].augment
    if augment.mode != "ada_rv" and said.params.loss.adversarial == "wgan_gp":
        return None
    value = measured.r_v if augment.mode == "ada_rv" else measured.r_t
    return None if value is None else value > augment.ada_target + 0.1


def setting(params: Params, path: str) -> object:
    section, name = path.split(".")
    return getattr(getattr(params, section), name)


ODD = {
    "a ratio that says nothing": r"\b1\.0 times|\d{4,} times|inf times|nan times",
    "a plural of one": r"(?<![\d.,])1 (?!is\b|was\b|has\b)[a-z]+s\b",
    "a number that is none": r"\bNone\b|nan%|inf%",
    "a change that is none": r"from ([\d.]+) to \1\b(?!\.\d)",
    "broken punctuation": r"\.\.|,\.|;\.|  | ,| \.(?!\d)|:\.",
}


def contradictions(said: Said) -> Iterator[str]:
    """What is wrong with what is said, each in a few words"""
    for sentence in said.sentences:
        yield from (f"{what}: {sentence}" for what, pattern in ODD.items() if re.search(pattern, sentence))
    text, actions, cap = " ".join(said.sentences), said.actions, said.params.augment.p_max
    because = " ".join(item.because for item in said.advice)
    found = overfits(said)
    if "D is not overfitting" in because and found is not False:
        yield "D is said not to overfit, and nobody has looked"
    if re.search("memorises|overfits", because) and found is False and "it was" not in because:
        yield "D is said to overfit below its target"
    if "D is not overfitting" in because and re.search("memorises|overfits", because):
        yield "D overfits and does not"
    if "augmentations leak" in text and cap < 0.8:
        yield f"a cap of {cap} is told that augmentations leak above 0.8"
    if "Train longer" in actions:
        yield from _against_longer_training(said)
    for name in set(re.findall(r"[a-z0-9]+\.[a-z0-9_]+", actions)):
        up, down = (re.search(rf"\b{verb} [^.;]*?{re.escape(name)}\b", actions) for verb in ("[Rr]aise", "[Ll]ower"))
        if up and down and name != "train.total_kimg":
            yield f"{name} up and down"
    if len({item.action for item in said.advice}) < len(said.advice):
        yield "the same advice twice"
    if not said.advice and any(row.grade in ("ok", "poor") for row in said.judged):
        yield "nothing to improve, and a grade that is not good"
    yield from _headline_problems(said)
    yield from _alarm_problems(said)
    yield from _frontier_problems(said)


def _against_longer_training(said: Said) -> Iterator[str]:
    if "stop earlier" in said.actions:
        yield "longer and shorter training"
    if "Like real" in said.headline or grade(said) in ("good", None):
        yield "longer training of a generator that is good, or that nobody has judged"
    late = [alarm for alarm in said.alarms if alarm.name != "p-at-cap"]
    kids = [(kid, row.kimg) for kid, row in training_curves.measured_kids(said.ticks)]
    if late and (not kids or min(kids)[1] <= late[-1].kimg):
        yield f"longer training after {late[-1].name}"


def _headline_problems(said: Said) -> Iterator[str]:
    judged, line = grade(said), said.headline
    if judged == "good" and re.search("no closer|Failed|Undecided|Not graded", line):
        yield f"good, and {line}"
    lowest = {row.grade for row in said.judged}
    if re.match("Good|Like real", line) and lowest & {"ok", "poor"}:
        yield f"{lowest}, and {line}"
    if line.startswith("Fair") and "poor" in lowest:
        yield f"poor, and {line}"
    if line.startswith("Not yet") and "no closer" not in line and "poor" not in lowest:
        yield f"nothing is poor, and {line}"
    if "no closer" in line and said.judged[0].value < said.report.untrained[0].value and said.judged[0].noise == 0:
        yield f"not closer, and closer: {line}"
    if "closer" in line and "no closer" not in line:
        yield f"a flattering comparison: {line}"
    if judged is not None and not math.isfinite(said.judged[0].value):
        yield "a grade of what is not finite"


def _alarm_problems(said: Said) -> Iterator[str]:
    for alarm in said.alarms:
        about = {"recall-lost": 10.0, "kid-rising": 10.0}.get(alarm.name, 0.0)  # the snapshot before is alarming too
        is_about = alarm.name in ("recall-lost", "kid-rising", "images-alike")
        if is_about and alarm.best_kimg is not None and alarm.best_kimg >= alarm.kimg - about:
            yield f"{alarm.name} sends to the snapshot that it is about"


def _frontier_problems(said: Said) -> Iterator[str]:
    recommended, rows = said.report.recommended, said.report.truncation
    if recommended.psi not in {row.psi for row in rows}:
        yield "a psi that was not measured"
    if not re.match(rf"psi {recommended.psi:g} |Only psi {recommended.psi:g} |No psi ", recommended.sentence):
        yield f"another psi than recommended: {recommended.sentence}"
    named = re.search(r"among the (\d+) psi|of the (\d+) psi", recommended.sentence)
    if named and not 2 <= int(named[1] or named[2]) <= len(rows):
        yield f"a number of psi that there are not: {recommended.sentence}"
    own = rf"at psi {recommended.psi:g}\b(?![.]\d)"
    if re.search(rf"(lowest \([^)]*|best, ){own}", recommended.sentence):
        yield f"a psi compared with itself: {recommended.sentence}"


@pytest.mark.parametrize("count", [400, pytest.param(None, marks=pytest.mark.long)])
def test_no_sentence_contradicts_another_or_the_numbers(count: int | None, params: list[Params]) -> None:
    found: dict[str, dict[str, Any]] = {}
    for case in cases(count):
        for problem in contradictions(say(case, params[case["settings"]])):
            found.setdefault(problem, case)
    assert not found, "\n".join(f"{problem}\n    {case}" for problem, case in list(found.items())[:8])


CHANGE = re.compile(r"([a-z0-9]+\.[a-z0-9_]+) from ([\d.e+-]+) to ([\d.e+-]*\d)")
MODE = re.compile(r"Set augment\.mode \(now (\w+)\) to (\w+)")


def test_every_change_that_is_advised_starts_from_the_present_value_and_is_accepted(params: list[Params]) -> None:
    advised: set[tuple[int, str, str, str]] = set()
    for case in cases(300):
        said = say(case, params[case["settings"]])
        text = " ".join([*(item.action for item in said.advice), *(alarm.remedy for alarm in said.alarms)])
        changes = [match.groups() for match in CHANGE.finditer(text)]
        changes += [("augment.mode", *match.groups()) for match in MODE.finditer(text)]
        advised |= {(case["settings"], *change) for change in changes}
    assert len(advised) > 12
    for number, path, before, after in sorted(advised):
        now = setting(params[number], path)
        assert before == (now if isinstance(now, str) else f"{now:g}"), path
        assert before != after
        overrides = (*TINY, "augment.ada_target=0.5", "augment.p=0.0", "train.total_kimg=40", "loss.r1_gamma=0.01")
        load(REPOSITORY / "params.yaml", [*overrides, *SETTINGS[number], f"{path}={after}"])


Change = Callable[[Said], Said]
SPOILT: dict[str, Change] = {
    "D is said not to overfit": lambda said: replace(said, advice=[advice.Advice("", "D is not overfitting.")]),
    "a ratio that says nothing": lambda said: replace(said, headline="32000 times closer."),
    "a flattering comparison": lambda said: replace(said, headline="8.7 times closer than the untrained network."),
    "a plural of one": lambda said: replace(said, other=["the lowest of 1 trials of 40 kimg."]),
    "longer and shorter": lambda said: replace(
        said, advice=[advice.Advice("Train longer.", ""), advice.Advice("Lower it, or stop earlier.", "")]
    ),
    "loss.r1_gamma up and down": lambda said: replace(
        said, advice=[advice.Advice("Raise loss.r1_gamma.", ""), advice.Advice("Lower loss.r1_gamma.", "")]
    ),
}


@pytest.mark.parametrize("problem", SPOILT)
def test_the_reader_of_sentences_sees_a_contradiction(problem: str, params: list[Params]) -> None:
    case = {name: values[-1] for name, values in GRID.items()} | {"settings": 7}
    assert any(found.startswith(problem) for found in contradictions(SPOILT[problem](say(case, params[7]))))
