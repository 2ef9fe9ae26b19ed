"""Charts of the report."""

import io
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from pipelines.artifacts.metrics_json import Metrics, Recommended, Truncation
from pipelines.params import Params
from pipelines.render.charts import MonitorCounts, contributions, frontier_chart, layer_chart, training_curves
from tests.evaluation_results import evaluation_results, metrics_of, truncation
from tests.tick_rows import tick, ticks

COLUMNS: list[dict[str, float]] = [
    {"kimg": 1.0, "loss/G": 1.0, "loss/D": 1.3, "augment/p": 0.1, "augment/r_t": 0.5},
    {"kimg": 2.0, "loss/G": 1.2, "loss/D": 1.1, "augment/p": 0.2, "augment/r_t": 0.6, "loss/pl_penalty": 0.2},
]
TICKS = ticks(COLUMNS)
COUNTS = MonitorCounts(gen=500, real=500)
SHARES: list[dict[str, float]] = [
    {"kimg": 1.0, "contribution/b4": 90.0, "contribution/b8": 6.0, "contribution/b16": 4.0},
    {"kimg": 2.0},  # a tick without a snapshot
    {"kimg": 3.0, "contribution/b4": 50.0, "contribution/b8": 30.0, "contribution/b16": 20.0},
]
LAYERS = ticks(SHARES)
BANDS = {"generated": {4: 40.0, 8: 35.0, 16: 25.0}, "real": {4: 42.0, 8: 35.0, 16: 23.0}}
REAL = metrics_of({"precision_x": 0.9, "recall_x": 0.9})


def sweep_row(psi: float, precision: float, recall: float, **bounds: list[float]) -> Truncation:
    return truncation(psi, {"kid_x": 0.1, "precision_x": precision, "recall_x": recall}, bounds)


SWEEP = [sweep_row(1.0, 0.5, 0.6), sweep_row(0.5, 0.8, 0.2)]


def frontier(
    rows: Sequence[Truncation],
    real: Metrics = REAL,
    psi: float = 1.0,
    like: Metrics = (),
    num_real: int = 2000,
    *,
    dark: bool = False,
) -> bytes:
    """The chart of a sweep whose psi is recommended, beside real images"""
    results = evaluation_results({"kid_x": 0.1}, floor={}, untrained={}, sweep=rows, num_real=num_real)
    recommended = Recommended(psi=psi, sentence="")
    return frontier_chart(
        results.model_copy(update={"floor": real, "like_floor": like, "recommended": recommended}), dark=dark
    )


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


@pytest.mark.parametrize("dark", [False, True])
def test_curves_are_drawn_on_paper_of_the_theme(dark: bool) -> None:
    for png in (
        training_curves(TICKS, 0.6, COUNTS, dark=dark),
        frontier(SWEEP, dark=dark),
        layer_chart(LAYERS, BANDS, dark=dark),
    ):
        assert opened(png).getpixel((0, 0)) == ((22, 27, 34) if dark else (255, 255, 255))


def test_curves_depend_on_their_numbers_and_on_nothing_else() -> None:
    first = training_curves(TICKS, 0.6, COUNTS, dark=False)
    assert first == training_curves(TICKS, 0.6, COUNTS, dark=False)
    changed = [TICKS[0], tick(COLUMNS[1] | {"loss/G": 9.0})]
    assert first != training_curves(changed, 0.6, COUNTS, dark=False)
    assert first != training_curves(TICKS, None, COUNTS, dark=False)  # the target line


def test_the_frontier_depends_on_its_numbers_and_not_on_their_order() -> None:
    first = frontier(SWEEP)
    assert first == frontier(SWEEP[::-1])
    changes = (
        ([SWEEP[0], sweep_row(0.5, 0.8, 0.3)], REAL, 1.0),
        (SWEEP, REAL, 0.5),  # the mark of the recommended one
        (SWEEP, metrics_of({"precision_x": 0.9, "recall_x": 0.8}), 1.0),  # the star
        (SWEEP, (), 1.0),
    )
    assert all(frontier(rows, real, psi) != first for rows, real, psi in changes)
    assert frontier(SWEEP, like=metrics_of({"precision_x": 0.4, "recall_x": 0.5})) != first  # at the star's numbers
    assert frontier(SWEEP, num_real=500) != first  # numbers of images are part of a number


def test_an_interval_is_shaded() -> None:
    bounded = [sweep_row(1.0, 0.5, 0.6, kid_x=[0.05, 0.15]), sweep_row(0.5, 0.8, 0.2, kid_x=[0.05, 0.15])]
    plain, shaded = (np.asarray(opened(frontier(rows))) for rows in (SWEEP, bounded))
    blue = np.array([0x00, 0x72, 0xB2])
    band = np.round(255 + 0.22 * (blue - 255))  # of the first metric, on white paper
    assert [(np.abs(img - band).max(axis=2) <= 2).sum() > 1000 for img in (plain, shaded)] == [False, True]


def test_real_images_far_from_a_weak_generator_leave_its_curve_readable() -> None:
    """The curve spans the axes, where real images at 0.9 would press it into a corner."""
    weak = [sweep_row(1.0, 0.01, 0.14), sweep_row(0.5, 0.04, 0.02)]
    ink = []
    for rows in (weak, SWEEP):
        picture = np.asarray(opened(frontier(rows))).astype(int)
        left = picture[:, : int(picture.shape[1] * 0.42)]
        columns = np.flatnonzero((np.abs(left - [0xD5, 0x5E, 0x00]).max(axis=2) < 40).any(axis=0))  # the ring
        ink.append(columns.max() / left.shape[1])
    assert min(ink) > 0.5


@pytest.mark.parametrize("kept", [("kid_x",), ("kid_x", "recall_x"), ("kid_x", "precision_x", "recall_x")])
def test_what_was_not_measured_is_left_out(kept: tuple[str, ...]) -> None:
    rows = [
        Truncation(psi=row.psi, metrics=tuple(metric for metric in row.metrics if metric.name in kept)) for row in SWEEP
    ]
    size = opened(frontier(rows)).size
    assert (size == (1320, 528)) == (len(kept) == 3)  # precision against recall has the left part


def test_one_psi_is_drawn() -> None:
    assert opened(frontier(SWEEP[:1])).size == (1320, 528)


def test_the_axes_name_the_images_that_snapshots_are_scored_with(make_params: Callable[..., Params]) -> None:
    logged = [tick(COLUMNS[1] | {"monitor/kid": 0.3, "monitor/precision": 0.1, "monitor/recall": 0.2})]
    assert MonitorCounts.of(make_params("monitor.num_images=500"), 2338) == COUNTS
    few = MonitorCounts.of(make_params("monitor.num_images=500", "data.max_images=90"), 2338)
    assert (few.gen, few.real) == (500, 90)
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Axes, "set_ylabel", lambda axis, text, **_: said.append(text))
        training_curves(logged, None, few, dark=False)
    assert said[-2:] == ["of 500 generated, 90 real images", "of 90 generated, 90 real images"]


def test_what_only_snapshots_measure_is_drawn_as_points() -> None:
    logged = [TICKS[0], tick(COLUMNS[1] | {"monitor/kid": 0.3, "monitor/precision": 0.1, "monitor/recall": 0.2})]
    height = opened(training_curves(TICKS, None, COUNTS, dark=False)).size[1]
    assert (
        opened(training_curves(logged, None, COUNTS, dark=False)).size[1] == 2 * height
    )  # two more panels, one more row
    moved = [logged[0], tick(logged[1].columns | {"monitor/kid": 0.3, "monitor/recall": 0.4})]
    assert training_curves(logged, None, COUNTS, dark=False) != training_curves(moved, None, COUNTS, dark=False)


def test_a_column_that_starts_late_is_drawn() -> None:
    without = ticks({name: row[name] for name in row if name != "loss/pl_penalty"} for row in COLUMNS)
    assert training_curves(TICKS, None, COUNTS, dark=False) != training_curves(without, None, COUNTS, dark=False)


@pytest.mark.parametrize("rows", [[], [{"kimg": 1.0, "memory_gb": 2.0}]])
def test_a_log_with_nothing_to_draw_is_refused(rows: list[dict[str, float]]) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        training_curves(ticks(rows), None, COUNTS, dark=False)
    assert str(error.value) == (
        "the training log has none of the columns loss/G, loss/D, logits/real, logits/gen, logits/holdout, "
        "augment/p, augment/r_t, augment/r_v, loss/r1_penalty, loss/gp_penalty, loss/pl_penalty, monitor/kid, "
        "monitor/precision, monitor/recall. Run `dvc repro train` again."
    )


def test_contributions_are_those_of_the_snapshots_by_rising_resolution() -> None:
    assert contributions(LAYERS) == ([1.0, 3.0], {4: [90.0, 50.0], 8: [6.0, 30.0], 16: [4.0, 20.0]})
    assert contributions(TICKS) == ([], {})


def test_the_layer_chart_depends_on_contributions_and_on_bands() -> None:
    first = layer_chart(LAYERS, BANDS, dark=False)
    assert first == layer_chart(LAYERS, BANDS, dark=False)
    assert first == layer_chart([LAYERS[0], LAYERS[2]], BANDS, dark=False)
    changed = tick(SHARES[2] | {"contribution/b4": 40.0, "contribution/b8": 40.0})
    assert first != layer_chart([*LAYERS[:2], changed], BANDS, dark=False)
    assert first != layer_chart(LAYERS, BANDS | {"real": {4: 10.0, 8: 35.0, 16: 55.0}}, dark=False)


@pytest.mark.parametrize("count", [0, 1])
def test_the_layer_chart_needs_no_two_snapshots(count: int) -> None:
    few, none = layer_chart(LAYERS[:count], BANDS, dark=False), layer_chart(TICKS, BANDS, dark=False)
    assert (few == none) == (count == 0)  # one snapshot is a column


def test_shares_fill_the_chart_in_the_colour_of_their_resolution() -> None:
    """The left edge of the area, the first snapshot, is 90 % the colour of the lowest resolution."""
    picture = np.asarray(opened(layer_chart([LAYERS[0], tick(SHARES[0] | {"kimg": 2.0})], BANDS, dark=False))).astype(
        int
    )
    column = picture[:, picture.shape[1] // 4]
    lowest = column[picture.shape[0] // 2]
    share = (np.abs(column - lowest).max(axis=1) < 3).sum()
    coloured = (column.max(axis=1) - column.min(axis=1) > 40).sum()
    assert share / coloured == pytest.approx(0.9, abs=0.03)  # a few pixels of edges and lines of the grid
    row = picture[int(picture.shape[0] * 0.75)]  # through the area and both columns, where the lowest resolution is
    coloured_row = row[row.max(axis=1) - row.min(axis=1) > 40]
    assert (np.abs(coloured_row - lowest).max(axis=1) < 3).mean() > 0.97
