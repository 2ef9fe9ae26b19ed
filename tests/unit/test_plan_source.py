"""pipelines.plan.source: what a look at the images decides, and what it says."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.params import Params, load
from pipelines.plan import __main__ as plan
from pipelines.plan.origins import Choice, Choices, as_they_are
from pipelines.plan.resolve import checked
from pipelines.plan.source import Look, choose_holdout_share, closest_resolution, look_at, survey_source
from pipelines.plan.source_report import name_aspect
from stylegan.config import ConfigError
from stylegan.data import survey
from tests.photos import BAD, HEIC, encode, picture, write_photos

Make = Callable[..., Params]


def look(params: Params, folder: Path, **asked: object) -> Look:
    """A look at a folder; asked: values of the command line, with __ for the dot"""
    values: Choices = {name.replace("__", "."): Choice(value, "command line") for name, value in asked.items()}
    choices = as_they_are(params)
    return look_at(str(folder), survey_source(str(folder), choices | values), choices, values)


def chosen(look: Look) -> dict[str, object]:
    return {name.split(".")[1]: choice.value for name, choice in look.choices.items()}


def fill(folder: Path, *sizes: tuple[int, int], mode: str = "RGB", count: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (width, height) in enumerate(size for size in sizes for _ in range(count)):
        suffix = "png" if mode in ("RGBA", "P") else "jpg"
        (folder / f"{len(list(folder.iterdir()))}.{suffix}").write_bytes(
            encode(picture(number, width, height, mode), suffix)
        )
    return folder


def lines(found: Look, params: Params) -> str:
    return "\n".join(found.lines(params))


def planned(found: Look, params: Params, **asked: object) -> Params:
    values: Choices = {name.replace("__", "."): Choice(value, "command line") for name, value in asked.items()}
    return checked(as_they_are(params) | found.choices | values)


@pytest.mark.parametrize(
    ("sizes", "transform", "reason"),
    [
        ([(40, 40), (20, 20)], "none", "all images are square"),
        ([(40, 40), (30, 20)], "center-crop", "2 of 4 images are not square; the middle 83% is kept"),
        ([(32, 18), (64, 36)], "center-crop-wide", "all images are wide: the middle 4:3 of each, between black bands"),
        ([(64, 36), (24, 20)], "center-crop", "4 of 4 images are not square; the middle 70% is kept"),
        ([(12, 9)], "center-crop", "2 of 2 images are not square; the middle 75% is kept"),
    ],
)
def test_the_transform_suits_the_shapes(
    tiny_params: Params, tmp_path: Path, sizes: list[tuple[int, int]], transform: str, reason: str
) -> None:
    assert look(tiny_params, fill(tmp_path / "set", *sizes)).choices["prepare.transform"] == Choice(transform, reason)


def test_a_rectangular_resolution_has_its_shape(make_params: Make, tmp_path: Path) -> None:
    params = make_params("prepare.resolution=[16, 24]")
    found = look(params, fill(tmp_path / "set", (48, 32), (103, 69)))
    assert found.choices["prepare.transform"] == Choice("none", "all images are of the shape 24 x 16")


def test_images_of_one_shape_are_advised_a_resolution_that_keeps_them_whole(
    tiny_params: Params, tmp_path: Path
) -> None:
    found = look(tiny_params, fill(tmp_path / "set", (48, 32), (96, 64)))
    advice = "All images have one shape: --resolution 12x18 (height x width) keeps them whole."
    assert advice in lines(found, planned(found, tiny_params))
    square = look(tiny_params, fill(tmp_path / "square", (48, 48)))
    assert "one shape" not in lines(square, planned(square, tiny_params))


@pytest.mark.parametrize(
    ("aspect", "longer", "expected"),
    [(3 / 2, 256, (192, 288)), (4 / 3, 256, (192, 256)), (2 / 3, 128, (128, 192)[::-1]), (9.0, 128, None)],
)
def test_a_resolution_of_a_shape_is_one_that_networks_make(
    aspect: float, longer: int, expected: tuple[int, int] | None
) -> None:
    from stylegan.config.pyramid import pyramid, sides

    found = closest_resolution(aspect, longer)
    if expected is None:
        assert found is None
        return
    assert found is not None
    height, width = sides(found)
    assert width / height == pytest.approx(aspect, rel=0.02)
    assert longer / 1.34 <= max(height, width) <= longer * 1.34
    pyramid(found)


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        (["L"], Choice("L", "all images are grey")),
        (["RGB"], Choice("RGB", "all images have colours")),
        (["L", "RGB"], Choice("RGB", "2 grey images get colours")),
        (["RGBA"], Choice("RGBA", "all images have transparency")),
        (["RGBA", "L", "RGB"], Choice("RGB", "2 grey images get colours; 2 with transparency are laid over white")),
    ],
)
def test_the_mode_is_that_of_most_images(
    tiny_params: Params, tmp_path: Path, modes: list[str], expected: Choice
) -> None:
    for mode in modes:
        fill(tmp_path / "set", (20, 20), mode=mode)
    assert look(tiny_params, tmp_path / "set").choices["prepare.mode"] == expected


def test_transparency_that_hides_nothing_is_none(tiny_params: Params, tmp_path: Path) -> None:
    opaque = picture(0, 20, 20).convert("RGBA")
    opaque.save(tmp_path / "a.png")
    assert look(tiny_params, tmp_path).choices["prepare.mode"].value == "RGB"


def test_arrays_of_more_channels_are_kept(tiny_params: Params, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((16, 16, 5), np.uint8))
    found = look(tiny_params, tmp_path)
    assert found.choices["prepare.mode"] == Choice("keep", "most images have 5 channels")
    assert "change colours" in lines(found, planned(found, tiny_params))


def test_sub_folders_are_labels_and_training_uses_them(tiny_params: Params, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / "set" / name, (20, 20), count=10)
    values = chosen(look(tiny_params, tmp_path / "set"))
    assert (values["labels"], values["use_labels"]) == ("folders", True)


@pytest.mark.parametrize(
    ("folders", "reason"),
    [
        ([""], "no sub-folders, and no dataset.json with labels"),
        (["2023-01", "2023-02"], "the sub-folders are named like dates or counters, not classes"),
        (["00000", "00001"], "the sub-folders are named like dates or counters, not classes"),
        (["100CANON", "101CANON"], "the sub-folders are named like dates or counters, not classes"),
        (["cat", "dog", ""], "10 images have no class"),
    ],
)
def test_folders_that_are_no_classes_give_no_labels(
    tiny_params: Params, tmp_path: Path, folders: list[str], reason: str
) -> None:
    for name in folders:
        fill(tmp_path / "set" / name, (20, 20), count=10)
    found = look(tiny_params, tmp_path / "set")
    assert found.choices["prepare.labels"] == Choice("none", reason)
    assert found.choices["data.use_labels"] == Choice(False, reason)


def test_small_classes_are_not_learnt_apart_unless_asked_for(tiny_params: Params, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        fill(tmp_path / "set" / name, (20, 20), count=3)
    found = look(tiny_params, tmp_path / "set")
    assert found.choices["prepare.labels"] == Choice("none", "half of 3 sub-folders have fewer than 10 images")
    asked = look(tiny_params, tmp_path / "set", data__use_labels=True)
    assert asked.choices["prepare.labels"].value == "folders"
    assert "data.use_labels" not in asked.choices


def test_the_labels_of_dataset_json_go_before_folders(tiny_params: Params, tmp_path: Path) -> None:
    names = []
    for name in ("a", "b"):
        names += [file.relative_to(tmp_path).as_posix() for file in fill(tmp_path / name, (20, 20)).iterdir()]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [[name, [0.5, 1]] for name in names]}))
    found = look(tiny_params, tmp_path)
    assert found.choices["prepare.labels"] == Choice("file", "label vectors of the source")
    assert "labels   vectors of 2 numbers (dataset.json)" in lines(found, planned(found, tiny_params))


def test_what_is_asked_for_is_not_chosen(tiny_params: Params, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / name, (30, 20), count=10)
    asked = {"prepare__transform": "none", "prepare__mode": "L", "prepare__labels": "none"}
    found = look(tiny_params, tmp_path, **asked, prepare__holdout_fraction=0.5)
    assert found.choices.keys() == {"prepare.source", "data.use_labels"}
    assert found.choices["data.use_labels"] == Choice(False, "prepare.labels is none")
    said = lines(found, planned(found, tiny_params, **asked))
    assert "20 is not square; set prepare.transform to center-crop" in said
    assert "prepare will stop: 100.0% of the images cannot be used" in said


def test_labels_that_are_prepared_and_not_used_are_said(tiny_params: Params, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / name, (20, 20), count=10)
    found = look(tiny_params, tmp_path, data__use_labels=False)
    said = lines(found, planned(found, tiny_params, data__use_labels=False))
    assert "prepare.labels is folders, but data.use_labels is false: training ignores the labels." in said


@pytest.mark.parametrize(
    ("num_images", "share"), [(5, 0.0), (199, 0.0), (200, 0.05), (800, 0.05), (20_000, 0.05), (100_000, 0.01)]
)
def test_small_sets_hold_out_nothing_and_large_ones_a_thousand_images(num_images: int, share: float) -> None:
    assert choose_holdout_share(num_images, "ada").value == share


def test_held_out_images_that_steer_p_are_held_out(tiny_params: Params) -> None:
    assert choose_holdout_share(100, "ada_rv").value > 0


def test_a_look_reads_headers_of_a_sample_and_says_so(
    tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "MOST_READ", 5)
    folder = fill(tmp_path / "set", (20, 20), count=40)
    decoded: list[object] = []
    monkeypatch.setattr(Image.Image, "load", lambda image: decoded.append(image))
    found = look(tiny_params, folder)
    said = lines(found, planned(found, tiny_params))
    assert not decoded
    assert said.startswith(f"{folder}: 40 images; the headers of 5, evenly spread, were read\n")
    assert "about 40 images will train, 0 are held out." in said


def test_the_counts_of_the_plan_are_those_of_prepare(tiny_params: Params, tmp_path: Path) -> None:
    from pipelines.prepare import prepare

    photos = write_photos(tmp_path / "set", 230, {"text": 2, "lab": 1})
    found = look(tiny_params, photos.folder)
    params = planned(found, tiny_params)
    made = prepare(params.prepare, tmp_path / "a.zip", tmp_path / "m.json", tmp_path / "none.jpg", workers=2)
    held = sum(entry.split == "holdout" for entry in made.entries)
    assert held > 0
    assert f"{len(made.entries) - held} images will train, {held} are held out." in lines(found, params)


def test_sizes_are_those_of_upright_images(tiny_params: Params, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.jpg").write_bytes(encode(picture(0, 60, 40), "jpg", exif=exif))
    (tmp_path / "b.png").write_bytes(encode(picture(0, 40, 60), "png"))
    assert "shapes   2:3 2" in lines(look(tiny_params, tmp_path), tiny_params)


@pytest.mark.parametrize(
    ("width", "height", "name"), [(1024, 683, "3:2"), (683, 1024, "2:3"), (9, 9, "1:1"), (9, 1, "other")]
)
def test_aspects_have_their_usual_names(width: int, height: int, name: str) -> None:
    assert name_aspect(width, height) == name


def test_many_small_images_and_all_large_ones_are_said(tiny_params: Params, tmp_path: Path) -> None:
    small, large = (look(tiny_params, fill(tmp_path / name, (side, side))) for name, side in (("a", 12), ("b", 200)))
    assert "2 of 2 images are smaller than 16 x 16 and would be enlarged; --resolution 8 suits nine in ten." in lines(
        small, tiny_params
    )
    assert "up to --resolution 128 they show more." in lines(large, tiny_params)


def test_few_images_are_told_what_they_are_too_few_for(make_params: Make, tmp_path: Path) -> None:
    params = make_params("evaluate.pr_neighbors=3")
    found = look(params, fill(tmp_path / "set", (20, 20), count=5))
    assert "evaluate.pr_neighbors is 3, which needs two halves of at least 4 training images; there are 5." in lines(
        found, planned(found, params)
    )


def test_a_zip_in_capitals_is_looked_at_as_its_folder(tiny_params: Params, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        fill(tmp_path / "set" / name, (30, 20), count=10)
    with zipfile.ZipFile(tmp_path / "SET.ZIP", "w") as archive:
        for file in sorted((tmp_path / "set").rglob("*.jpg")):
            archive.write(file, file.relative_to(tmp_path / "set").as_posix())
    ours, folder = (chosen(look(tiny_params, tmp_path / name)) for name in ("SET.ZIP", "set"))
    assert ours | {"source": ""} == folder | {"source": ""}


def test_a_source_alone_can_be_planned_and_its_home_is_found(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "set", (30, 20))
    (tmp_path / "set" / "phone.heic").write_bytes(HEIC)
    (tmp_path / "set" / "text.jpg").write_bytes(BAD["text"][1](0))
    base = tmp_path / "params.yaml"
    base.write_bytes((repository / "params.yaml").read_bytes())
    plan.main(["--base", str(base), "--source", "~/set"])
    written, before = load(base), load(repository / "params.yaml")
    assert written.prepare.source == str(tmp_path / "set")  # DVC would not resolve ~
    assert written.prepare.transform == "center-crop"
    assert written.model_dump(exclude={"prepare"}) == before.model_dump(exclude={"prepare"})
    said = capsys.readouterr().out
    assert "2 of 4 images cannot be used:" in said
    assert "prepare will stop: 50.0% of the images cannot be used" in said


def test_a_source_that_cannot_be_opened_is_refused(tiny_params: Params, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--source .*: holds no image files\."):
        look(tiny_params, tmp_path)
