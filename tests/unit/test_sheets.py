"""Sheets of pictures."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.drawing.sheets import CELL, GAP, MARGIN, labelled_sheet, neighbor_captions, neighbor_sheet, png_of


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


def shades(*values: int, size: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.stack([torch.full((channels, size, size), value, dtype=torch.uint8) for value in values])


def plain_columns(sheet: Image.Image, top: int, bottom: int, shade: int) -> list[int]:
    """Columns of the picture that are this shade from top to bottom"""
    band = np.asarray(sheet)[top:bottom]
    return np.flatnonzero((band == shade).all(axis=(0, 2))).tolist()


@pytest.mark.parametrize(("size", "channels"), [(16, 3), (128, 1), (300, 3)])
def test_a_generated_image_stands_apart_from_its_nearest_training_images(size: int, channels: int) -> None:
    gen = shades(10, 20, size=size, channels=channels)
    train = torch.stack([shades(30, 40, size=size, channels=channels), shades(50, 60, size=size, channels=channels)])
    sheet = neighbor_sheet(gen, train, [["a", "b"], ["c", "d"]])
    rows = np.flatnonzero((np.asarray(sheet)[:, MARGIN] == 10).all(axis=1))
    assert len(rows) == CELL  # small images are enlarged and large ones reduced
    first = plain_columns(sheet, rows[0], rows[-1] + 1, 30)
    assert plain_columns(sheet, rows[0], rows[-1] + 1, 10) == list(range(MARGIN, MARGIN + CELL))
    assert first == list(range(MARGIN + CELL + GAP, MARGIN + 2 * CELL + GAP))
    assert min(plain_columns(sheet, rows[0], rows[-1] + 1, 40)) > first[-1] + 1
    below = np.flatnonzero((np.asarray(sheet)[:, MARGIN] == 20).all(axis=1))
    assert below[0] > rows[-1]  # in the order given
    assert len(plain_columns(sheet, below[0], below[-1] + 1, 60)) == CELL


def test_captions_are_drawn_below_their_training_image_and_none_below_the_generated_one() -> None:
    gen, train = shades(200), shades(200, 200)[None]
    plain, left, right = (np.asarray(neighbor_sheet(gen, train, [texts])) for texts in (["", ""], ["1", ""], ["", "1"]))
    changed = [np.argwhere((other != plain).any(axis=2)) for other in (left, right)]
    start = MARGIN + CELL + GAP
    assert changed[0][:, 1].min() >= start
    assert changed[0][:, 1].max() < start + CELL < changed[1][:, 1].min()
    assert min(found[:, 0].min() for found in changed) > CELL


def test_pictures_that_are_not_square_keep_their_shape() -> None:
    gen = torch.zeros(1, 3, 64, 32, dtype=torch.uint8)
    sheet = neighbor_sheet(gen, gen[None], [["1"]])
    assert sheet.width == 2 * 64 + GAP + 2 * MARGIN
    assert (np.asarray(sheet)[:, MARGIN] == 0).all(axis=1).sum() == 128


def test_a_caption_is_the_distance_and_of_the_nearest_what_to_compare_it_with() -> None:
    distance = torch.tensor([[0.31234, 0.5], [2.0, 3000.0]], dtype=torch.float64)
    spacing = torch.tensor([0.52, 10.0], dtype=torch.float64)
    assert neighbor_captions(distance, spacing) == [["0.312 (0.52)", "0.5"], ["2 (10)", "3000"]]


def test_no_neighbours_make_an_empty_sheet() -> None:
    empty = torch.zeros(0, 3, 16, 16, dtype=torch.uint8)
    assert neighbor_sheet(empty, empty[:, None].expand(0, 2, 3, 16, 16), []).width > 0
