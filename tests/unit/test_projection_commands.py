"""python -m stylegan project | detect: what they write, and what they say to a mistake."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.params import Params
from stylegan.__main__ import main
from stylegan.analysis.targets import load_target
from stylegan.checkpoint import load_generator, save_generator
from stylegan.commands.projection import folder_names
from stylegan.data.limits import MAX_PIXELS
from stylegan.drawing.generate import generate_images
from stylegan.drawing.style_files import load_styles
from stylegan.images import save_png, to_uint8
from stylegan.metrics.evaluation.sampling import synthesize_ws
from stylegan.networks import Generator

QUICK = ("--distance", "random", "--steps", "3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_params: Params) -> Path:
    """A generator, one for two classes, and two pictures."""
    folder = tmp_path_factory.mktemp("projection")
    for name, c_dim in (("plain", 0), ("conditional", 2)):
        torch.manual_seed(0)
        G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=c_dim)
        save_generator(G, folder / f"{name}.safetensors", ["circle", "square"] if c_dim else None)
    own = generate_images(load_generator(folder / "plain.safetensors"), [0, 1], psi=1, batch_size=2)
    for name, picture in zip("ab", own, strict=True):
        save_png(picture, folder / f"{name}.png")
    return folder


def run(folder: Path, *arguments: str, command: str = "project", generator: str = "plain") -> int:
    return main([command, str(folder / f"{generator}.safetensors"), *arguments, *QUICK])


def test_project_writes_the_result_of_each_target(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [str(folder / "a.png"), str(folder / "b.png")]
    assert run(folder, *pictures, "--out", str(tmp_path), "--video", "--batch-size", "1") == 0
    names = ["proj.mp4", "proj.png", "projected_w.npz", "target.png"]
    for name in "ab":
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == names
        assert (tmp_path / name / "target.png").read_bytes() == (folder / f"{name}.png").read_bytes()
    with (tmp_path / "distances.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["space"], summary["num_steps"], summary["distance"]) == ("w", 3, "random")
    for result in summary["results"]:
        column = [float(row[result["folder"]]) for row in rows]
        assert (result["start"], result["end"]) == (column[0], column[-1])
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == f"2 projections in {tmp_path}"
    assert output.err.splitlines()[-1].startswith("step 8/8, distance ")


@pytest.mark.parametrize("noise", ["--noise", "--no-noise"])
def test_the_saved_styles_draw_the_saved_picture(folder: Path, tmp_path: Path, noise: str) -> None:
    assert run(folder, str(folder / "a.png"), "--space", "w+", noise, "--out", str(tmp_path)) == 0
    with np.load(tmp_path / "a/projected_w.npz") as file:
        maps = {name: torch.from_numpy(file[name]) for name in file.files}
    w = maps.pop("w")
    G = load_generator(folder / "plain.safetensors")
    assert torch.equal(load_styles(tmp_path / "a/projected_w.npz", G.num_ws, G.w_dim), w)
    assert bool(maps) == (noise == "--noise")
    drawn = to_uint8(synthesize_ws(G, w, maps))[0].permute(1, 2, 0).numpy()
    with Image.open(tmp_path / "a/proj.png") as picture:
        assert np.array_equal(np.asarray(picture), drawn)


def test_the_film_shows_target_and_projection_side_by_side(folder: Path, tmp_path: Path) -> None:
    import imageio_ffmpeg

    assert run(folder, str(folder / "a.png"), "--out", str(tmp_path), "--video") == 0
    facts = next(imageio_ffmpeg.read_frames(str(tmp_path / "a/proj.mp4")))
    assert facts["size"] == (512, 256)


def test_equal_seeds_write_equal_files(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("first", "0"), ("again", "0"), ("other", "1")):
        assert run(folder, str(folder / "a.png"), "--seed", seed, "--out", str(tmp_path / name)) == 0
    first, again, other = ((tmp_path / name / "a/projected_w.npz").read_bytes() for name in ("first", "again", "other"))
    assert first == again != other


def test_a_picture_of_another_size_is_cut_to_its_centre_with_a_notice(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    target = load_target(tmp_path / "wide.png", load_generator(folder / "plain.safetensors"))
    assert target.img.shape == (3, 16, 16)
    assert (target.img == 200).all()
    assert target.note == f"{tmp_path / 'wide.png'}: 60 x 20 cut to the centre, now 16 x 16"
    assert run(folder, str(tmp_path / "wide.png"), "--out", str(tmp_path)) == 0
    assert capsys.readouterr().err.startswith(f"{target.note}\n")


def test_transparent_targets_are_seen_on_white(folder: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (load_target(tmp_path / "clear.png", load_generator(folder / "plain.safetensors")).img == 255).all()


@pytest.mark.parametrize(
    ("name", "pixels", "expected"),
    [
        ("deep.png", np.array([0, 257 * 100, 65535], np.uint16), [0, 100, 255]),
        ("deep.tif", np.array([0, 257 * 100, 65535], np.uint16), [0, 100, 255]),
        ("unit.tif", np.array([0, 0.5, 1], np.float32), [0, 128, 255]),
        ("byte.tif", np.array([0, 100, 254.6], np.float32), [0, 100, 255]),
        ("whole.tif", np.array([0, 100, 255], np.int32), [0, 100, 255]),
        ("large.tif", np.array([0, 25700, 65535], np.int32), [0, 100, 255]),
    ],
)
def test_deep_and_float_pictures_keep_their_brightness(
    folder: Path, tmp_path: Path, name: str, pixels: np.ndarray, expected: list[int]
) -> None:
    path = tmp_path / name
    table = np.zeros((16, 16), pixels.dtype)
    table[:3, 0] = pixels
    table[15, 15] = pixels.max()
    Image.fromarray(table).save(path)
    target = load_target(path, load_generator(folder / "plain.safetensors"))
    assert target.img[:, :3, 0].tolist() == [expected] * 3
    assert target.note.startswith(f"{path}: pixels of mode ")


@pytest.mark.parametrize("value", [-1.0, 70000.0, float("nan"), float("inf")])
def test_numbers_that_no_picture_has_are_refused(folder: Path, tmp_path: Path, value: float) -> None:
    table = np.zeros((16, 16), np.float32)
    table[3, 3] = value
    Image.fromarray(table).save(tmp_path / "odd.tif")
    with pytest.raises(ValueError, match=r"Expected 0 to 1, 0 to 255 or 0 to 65535; save it with 8 bits\.$"):
        load_target(tmp_path / "odd.tif", load_generator(folder / "plain.safetensors"))


def test_a_picture_that_says_it_is_huge_is_refused_before_it_is_decoded(folder: Path, tmp_path: Path) -> None:
    header = io.BytesIO()
    Image.new("1", (16, 16)).save(header, format="bmp")
    for side in (MAX_PIXELS // 10_000 + 1, 60_000):  # above ours, and above what Pillow opens
        content = bytearray(header.getvalue())
        content[18:26] = (side).to_bytes(4, "little") + (10_000).to_bytes(4, "little")
        (tmp_path / "huge.bmp").write_bytes(content)
        with pytest.raises(ValueError, match=rf"huge\.bmp: has more than {MAX_PIXELS:,} pixels .*; make it smaller\.$"):
            load_target(tmp_path / "huge.bmp", load_generator(folder / "plain.safetensors"))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_picture_cut_short_is_refused_with_the_reason(folder: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"cut\.{suffix}: cannot be decoded "):
        load_target(path, load_generator(folder / "plain.safetensors"))


def test_a_folder_is_all_its_pictures_and_bad_ones_are_named_at_the_end(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    album = tmp_path / "album"
    (album / "below").mkdir(parents=True)
    for name in ("a.png", "below/b.png"):
        (album / name).write_bytes((folder / Path(name).name).read_bytes())
    (album / "notes.txt").write_text("no picture")
    (album / "bad.jpg").write_bytes(b"no picture either")
    out = tmp_path / "out"
    assert run(folder, str(album), "--out", str(out)) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a", "b", "distances.csv", "summary.json"]
    said = capsys.readouterr()
    reason = f"{album / 'bad.jpg'}: cannot be decoded (not an image file); replace or remove it."
    assert said.out.splitlines()[-3:] == [f"2 projections in {out}", "1 left out:", reason]
    assert said.err.startswith(f"left out: {reason}\n")


def test_a_folder_of_nothing_that_works_fails_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert run(folder, str(tmp_path / "empty"), "--out", str(tmp_path / "out")) == 1
    expected = "no image in this folder or below. Give image files, or a folder that holds some."
    assert capsys.readouterr().err == f"error: {tmp_path / 'empty'}: {expected}\n"
    for name in ("a.png", "b.png"):
        (tmp_path / "empty" / name).write_bytes(b"bad")
    assert run(folder, str(tmp_path / "empty"), "--out", str(tmp_path / "out")) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'empty/a.png'}: cannot be decoded (not an image file); replace or remove it. "
        "(and 1 more files, none of which can be read)\n"
    )


def test_targets_of_one_name_get_a_folder_each() -> None:
    assert folder_names([Path("x/a.png"), Path("b.png")]) == ["a", "b"]
    assert folder_names([Path("x/a.png"), Path("a-1.png"), Path("y/a.jpg")]) == ["a-1", "a-1-2", "a-3"]


def test_a_class_chooses_the_label(folder: Path, tmp_path: Path) -> None:
    for text in ("0", "1", "square"):
        arguments = [str(folder / "a.png"), "--class", text, "--out", str(tmp_path / text)]
        assert run(folder, *arguments, generator="conditional") == 0
    first, second, named = ((tmp_path / text / "a/proj.png").read_bytes() for text in ("0", "1", "square"))
    assert first != second == named


def test_wide_pictures_go_the_whole_way(folder: Path, tmp_path: Path, tiny_params: Params) -> None:
    G = Generator(tiny_params.generator, img_resolution=(16, 24), img_channels=1, c_dim=0)
    save_generator(G, folder / "wide.safetensors")
    save_png(generate_images(G, [0], psi=1, batch_size=1)[0], tmp_path / "own/a.png")
    assert run(folder, str(tmp_path / "own/a.png"), "--out", str(tmp_path), generator="wide") == 0
    with Image.open(tmp_path / "a/proj.png") as picture:
        assert (picture.size, picture.mode) == ((24, 16), "L")
    real = ["--real", str(tmp_path / "own"), "--num", "1"]
    assert run(folder, *real, "--out", str(tmp_path), command="detect", generator="wide") == 0


@pytest.mark.parametrize("source", ["archive", "folder"])
@pytest.mark.parametrize("generator", ["plain", "conditional"])
def test_detect_writes_distances_a_histogram_and_a_verdict(
    folder: Path, tmp_path: Path, tiny_archive: Path, capsys: pytest.CaptureFixture[str], source: str, generator: str
) -> None:
    real = ["--real", str(tiny_archive if source == "archive" else folder)]
    label = ["--class", "1"] if (source, generator) == ("folder", "conditional") else []
    arguments = [*real, *label, "--num", "2", "--out", str(tmp_path), "--batch-size", "3"]
    assert run(folder, *arguments, command="detect", generator=generator) == 0
    with (tmp_path / "distances.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["real", "real", "generated", "generated"]
    assert all(float(row["distance"]) > 0 for row in rows)
    with Image.open(tmp_path / "histogram.png") as picture:
        assert picture.size == (840, 480)
    summary = json.loads((tmp_path / "summary.json").read_text())
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(
        f"AUC {summary['auc']:.2f} (95% interval {summary['auc_low']:.2f} to {summary['auc_high']:.2f}), "
        f"{summary['accuracy']:.0%} right at the distance "
    )
    assert "2 images of each kind are too few to say anything" in first
    assert second == f"histogram.png, distances.csv and summary.json in {tmp_path}"


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("detect", ["--num", "9", "--real", "{folder}"],
         "{folder}: holds 2 images, fewer than --num 9. Ask for fewer."),
        ("project", ["{folder}/a.png", "--class", "1"],
         "class 1 was requested, but this generator is unconditional. Leave the class out."),
        ("project", ["{folder}/plain.safetensors"],
         "{folder}/plain.safetensors: cannot be decoded (not an image file); replace or remove it."),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, arguments: list[str], message: str
) -> None:
    filled = [argument.format(folder=folder) for argument in arguments]
    assert run(folder, *filled, "--out", str(tmp_path), command=command) == 1
    assert capsys.readouterr().err == f"error: {message.format(folder=folder)}\n"


def test_missing_lpips_weights_are_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--out", str(tmp_path), "--weights", str(tmp_path)]
    assert main(["project", str(folder / "plain.safetensors"), str(folder / "a.png"), *arguments]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'lpips_vgg16.safetensors'}: no weights of LPIPS")
