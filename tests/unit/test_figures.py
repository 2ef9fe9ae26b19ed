"""Drawings of the report."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.figures import contributions, labelled_sheet, layer_chart, png_of, training_curves, truncation_curves

TICKS = [
    {"kimg": 1.0, "loss/G": 1.0, "loss/D": 1.3, "augment/p": 0.1, "augment/r_t": 0.5},
    {"kimg": 2.0, "loss/G": 1.2, "loss/D": 1.1, "augment/p": 0.2, "augment/r_t": 0.6, "loss/pl_penalty": 0.2},
]
LAYERS = [
    {"kimg": 1.0, "contribution/b4": 90.0, "contribution/b8": 6.0, "contribution/b16": 4.0},
    {"kimg": 2.0},  # a tick without a snapshot
    {"kimg": 3.0, "contribution/b4": 50.0, "contribution/b8": 30.0, "contribution/b16": 20.0},
]
BANDS = {"generated": {4: 40.0, 8: 35.0, 16: 25.0}, "real": {4: 42.0, 8: 35.0, 16: 23.0}}
SWEEP = [{"psi": 1.0, "kid_x": 0.1, "recall_x": 0.5}, {"psi": 0.5, "kid_x": 0.2, "recall_x": 0.1}]


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def test_a_sheet_without_labels_is_the_enlarged_pictures() -> None:
    img = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    img[1] = 200
    sheet = np.asarray(labelled_sheet(img, 2, 3))
    assert sheet.shape == (12, 24, 3)
    assert (sheet[:, :12] == 0).all()
    assert (sheet[:, 12:] == 200).all()


def test_labels_take_room_above_and_to_the_left_and_leave_the_pictures_alone() -> None:
    img = torch.full((4, 1, 16, 16), 90, dtype=torch.uint8)
    sheet = np.asarray(labelled_sheet(img, 2, 4, column_labels=["-1", "0.5"], row_labels=["7", "8"]))
    assert (sheet[-128:, -128:] == 90).all()
    above, left = sheet[:-128], sheet[:, :-128]
    assert min(above.shape[0], left.shape[1]) > 0
    for margin in (above[:, -128:-64], above[:, -64:], left[-128:-64], left[-64:]):
        assert margin.min() < 128  # every label is drawn


def test_a_transparent_picture_lies_on_white() -> None:
    sheet = np.asarray(labelled_sheet(torch.zeros(1, 4, 2, 2, dtype=torch.uint8), 1, 1))
    assert (sheet == 255).all()


def test_a_sheet_survives_its_file() -> None:
    sheet = labelled_sheet(torch.arange(48, dtype=torch.uint8).reshape(1, 3, 4, 4), 1, 1)
    assert np.array_equal(np.asarray(opened(png_of(sheet))), np.asarray(sheet))


@pytest.mark.parametrize("dark", [False, True])
def test_curves_are_drawn_on_paper_of_the_theme(dark: bool) -> None:
    for png in (
        training_curves(TICKS, 0.6, dark=dark),
        truncation_curves(SWEEP, dark=dark),
        layer_chart(LAYERS, BANDS, dark=dark),
    ):
        assert opened(png).getpixel((0, 0)) == ((22, 27, 34) if dark else (255, 255, 255))


def test_curves_depend_on_their_numbers_and_on_nothing_else() -> None:
    first = training_curves(TICKS, 0.6, dark=False)
    assert first == training_curves(TICKS, 0.6, dark=False)
    changed = [TICKS[0], TICKS[1] | {"loss/G": 9.0}]
    assert first != training_curves(changed, 0.6, dark=False)
    assert first != training_curves(TICKS, None, dark=False)  # the target line
    assert truncation_curves(SWEEP, dark=False) == truncation_curves(SWEEP[::-1], dark=False)


def test_a_column_that_starts_late_is_drawn() -> None:
    without = [{name: value for name, value in tick.items() if name != "loss/pl_penalty"} for tick in TICKS]
    assert training_curves(TICKS, None, dark=False) != training_curves(without, None, dark=False)


@pytest.mark.parametrize("ticks", [[], [{"kimg": 1.0, "unknown": 2.0}]])
def test_a_log_with_nothing_to_draw_is_refused(ticks: list[dict[str, float]]) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        training_curves(ticks, None, dark=False)
    assert str(error.value) == (
        "the training log has none of the columns loss/G, loss/D, logits/real, logits/gen, augment/p, augment/r_t, "
        "loss/r1_penalty, loss/pl_penalty, sec_per_kimg. Run `dvc repro train` again."
    )


def test_contributions_are_those_of_the_snapshots_by_rising_resolution() -> None:
    assert contributions(LAYERS) == ([1.0, 3.0], {4: [90.0, 50.0], 8: [6.0, 30.0], 16: [4.0, 20.0]})
    assert contributions(TICKS) == ([], {})


def test_the_layer_chart_depends_on_contributions_and_on_bands() -> None:
    first = layer_chart(LAYERS, BANDS, dark=False)
    assert first == layer_chart(LAYERS, BANDS, dark=False)
    assert first == layer_chart([LAYERS[0], LAYERS[2]], BANDS, dark=False)
    changed = LAYERS[2] | {"contribution/b4": 40.0, "contribution/b8": 40.0}
    assert first != layer_chart([*LAYERS[:2], changed], BANDS, dark=False)
    assert first != layer_chart(LAYERS, BANDS | {"real": {4: 10.0, 8: 35.0, 16: 55.0}}, dark=False)


@pytest.mark.parametrize("count", [0, 1])
def test_the_layer_chart_needs_no_two_snapshots(count: int) -> None:
    few, none = layer_chart(LAYERS[:count], BANDS, dark=False), layer_chart(TICKS, BANDS, dark=False)
    assert (few == none) == (count == 0)  # one snapshot is a column


def test_shares_fill_the_chart_in_the_colour_of_their_resolution() -> None:
    """The left edge of the area, the first snapshot, is 90 % the colour of the lowest resolution."""
    picture = np.asarray(opened(layer_chart([LAYERS[0], LAYERS[0] | {"kimg": 2.0}], BANDS, dark=False))).astype(int)
    column = picture[:, picture.shape[1] // 4]
    lowest = column[picture.shape[0] // 2]
    share = (np.abs(column - lowest).max(axis=1) < 3).sum()
    coloured = (column.max(axis=1) - column.min(axis=1) > 40).sum()
    assert share / coloured == pytest.approx(0.9, abs=0.03)  # a few pixels of edges and lines of the grid
    row = picture[int(picture.shape[0] * 0.75)]  # through the area and both columns, where the lowest resolution is
    coloured_row = row[row.max(axis=1) - row.min(axis=1) > 40]
    assert (np.abs(coloured_row - lowest).max(axis=1) < 3).mean() > 0.97
