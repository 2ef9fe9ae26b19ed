"""python -m stylegan generate | mix | interpolate | export: what it writes, and what it says to a mistake."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.params import Params
from stylegan.__main__ import build_parser, main
from stylegan.checkpoint import save_generator
from stylegan.networks import Generator


def save(path: Path, params: Params, c_dim: int, names: list[str] | None = None, channels: int = 3) -> str:
    torch.manual_seed(0)
    G = Generator(params.generator, img_resolution=16, img_channels=channels, c_dim=c_dim)
    G.mapping.w_avg.normal_()
    save_generator(G, path, names)
    return str(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_params: Params) -> str:
    return save(tmp_path_factory.mktemp("plain") / "generator.safetensors", tiny_params, c_dim=0)


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory, tiny_params: Params) -> str:
    return save(tmp_path_factory.mktemp("conditional") / "generator.safetensors", tiny_params, c_dim=3)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, tiny_params: Params) -> str:
    names = ["circle", "square", "star"]
    return save(tmp_path_factory.mktemp("named") / "generator.safetensors", tiny_params, c_dim=3, names=names)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_generate_writes_a_picture_for_each_seed(
    plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", plain, "--seeds", "0-2,20", "--out", str(tmp_path / "new")]) == 0
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["seed0000.png", "seed0001.png", "seed0002.png", "seed0020.png"]
    assert capsys.readouterr().out == f"4 images in {tmp_path / 'new'}\n"


def test_mix_writes_every_mixture_and_a_sheet(plain: str, tmp_path: Path) -> None:
    arguments = ["mix", plain, "--rows", "0,1", "--cols", "2-4", "--layers", "0-1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert len(list(tmp_path.glob("000[01]-000[234].png"))) == 6
    assert main([*arguments, "--scale", "1", "--no-captions"]) == 0
    assert size_of(tmp_path / "grid.png") == (48, 32)


def test_interpolate_writes_a_film(plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "walk.mp4"
    assert main(["interpolate", plain, "--seeds", "0,1", "--frames", "3", "--out", str(film)]) == 0
    assert capsys.readouterr().out == f"6 frames in {film}\n"
    assert film.stat().st_size > 0


def test_a_class_chooses_the_label(conditional: str, tmp_path: Path) -> None:
    for index in "01":
        arguments = ["generate", conditional, "--seeds", "0", "--class", index, "--out", str(tmp_path / index)]
        assert main(arguments) == 0
    assert (tmp_path / "0/seed0000.png").read_bytes() != (tmp_path / "1/seed0000.png").read_bytes()


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.safetensors"
    assert main(["generate", str(path), "--seeds", "0", "--out", str(tmp_path)]) == 1
    expected = f"error: {path}: no such file. `dvc repro train` makes models/generator.safetensors.\n"
    assert capsys.readouterr().err == expected


def test_a_class_for_an_unconditional_generator_is_refused(
    plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", plain, "--seeds", "0", "--class", "1", "--out", str(tmp_path)]) == 1
    expected = "error: class 1 was requested, but this generator is unconditional. Leave the class out.\n"
    assert capsys.readouterr().err == expected


def test_a_conditional_generator_asks_for_a_class(
    conditional: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", conditional, "--seeds", "0", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: this generator is conditional. Choose a class from 0 to 2.\n"


@pytest.mark.parametrize("bad", ["x", "3-", "-3", "9-2", "1,,2", "1.5", ""])
def test_a_bad_list_of_seeds_is_explained(plain: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["generate", plain, f"--seeds={bad}", "--out", "unused"])
    assert stop.value.code == 2
    wrong = {"9-2": "'9-2'", "1,,2": "''"}.get(bad, repr(bad))
    expected = f"argument --seeds: {wrong} is neither a number nor a range; write numbers like 0-9,20\n"
    assert capsys.readouterr().err.endswith(expected)


@pytest.mark.parametrize("bad", ["0", "-1", "two"])
def test_a_bad_count_is_explained(plain: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["interpolate", plain, "--seeds", "0,1", f"--frames={bad}", "--out", "unused"])
    assert capsys.readouterr().err.endswith(f"argument --frames: {bad!r} is not a whole number of at least 1\n")


def test_a_device_that_is_not_there_is_explained(plain: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", plain, "--seeds", "0", "--device", "abacus", "--out", "unused"])
    error = capsys.readouterr().err
    assert "argument --device: 'abacus' cannot be used on this machine (" in error
    assert error.endswith("); cpu always can\n")


def test_a_class_may_be_named(named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("square", "1"):
        assert main(["generate", named, "--seeds", "0", "--class", text, "--out", str(tmp_path / text)]) == 0
    assert main(["generate", named, "--seeds", "0", "--label", "0,1,0", "--out", str(tmp_path / "label")]) == 0
    pictures = {(tmp_path / folder / "seed0000.png").read_bytes() for folder in ("square", "1", "label")}
    assert len(pictures) == 1
    capsys.readouterr()
    assert main(["generate", named, "--seeds", "0", "--class", "sqare", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: class 'sqare' does not exist; did you mean square?\n"
    assert main(["generate", named, "--seeds", "0", "--out", str(tmp_path)]) == 1
    expected = "error: this generator is conditional. Choose a class: circle, square, star.\n"
    assert capsys.readouterr().err == expected


def test_the_sheet_of_every_class_has_a_row_a_class(conditional: str, tmp_path: Path) -> None:
    plain_sheet = ["--sheet", "--scale", "1", "--no-captions"]
    arguments = ["--every-class", "--seeds", "0-3", *plain_sheet, "--out", str(tmp_path)]
    assert main(["generate", conditional, *arguments]) == 0
    assert len(list(tmp_path.glob("class0[012]-seed000[0123].png"))) == 12
    assert size_of(tmp_path / "sheet.png") == (64, 48)


@pytest.mark.parametrize("more", [["--class", "1"], ["--label", "1,0,0"]])
def test_every_class_excludes_one(
    conditional: str, tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", conditional, "--every-class", "--seeds", "0", *more, "--out", str(tmp_path)]) == 1
    expected = "error: --every-class draws all classes of seeds. Leave out --class, --label and --w.\n"
    assert capsys.readouterr().err == expected


def test_every_class_of_none_is_refused(plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", plain, "--every-class", "--seeds", "0", "--out", str(tmp_path)]) == 1
    expected = "error: this generator is unconditional and has no classes. Leave --every-class out.\n"
    assert capsys.readouterr().err == expected


def test_the_strip_has_a_row_a_seed_and_a_column_a_psi(plain: str, tmp_path: Path) -> None:
    plain_strip = ["--strip=-1,0,1", "--scale", "1", "--no-captions"]
    assert main(["generate", plain, "--seeds", "0,1", *plain_strip, "--out", str(tmp_path)]) == 0
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (48, 32)
        cells = [[strip.crop((x, y, x + 16, y + 16)).tobytes() for x in (0, 16, 32)] for y in (0, 16)]
    assert cells[0][1] == cells[1][1]  # psi 0 is the same picture for every seed
    with Image.open(tmp_path / "seed0001.png") as alone:
        assert cells[1][2] == alone.tobytes()


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_saved_styles_give_the_same_pictures_again(plain: str, tmp_path: Path, suffix: str) -> None:
    w = tmp_path / f"w.{suffix}"
    arguments = ["--seeds", "5,6", "--psi", "0.6", "--save-w", str(w), "--out", str(tmp_path)]
    assert main(["generate", plain, *arguments]) == 0
    assert main(["generate", plain, "--w", str(w), "--out", str(tmp_path)]) == 0
    for place, seed in enumerate((5, 6)):
        assert (tmp_path / f"w{place:04d}.png").read_bytes() == (tmp_path / f"seed{seed:04d}.png").read_bytes()


def test_a_file_of_styles_needs_no_class(conditional: str, tmp_path: Path) -> None:
    w = str(tmp_path / "w.npz")
    arguments = ["--seeds", "0", "--class", "1", "--save-w", w, "--out", str(tmp_path)]
    assert main(["generate", conditional, *arguments]) == 0
    assert main(["generate", conditional, "--w", w, "--out", str(tmp_path)]) == 0


def test_mix_and_interpolate_take_files_of_styles(plain: str, tmp_path: Path) -> None:
    w = str(tmp_path / "w.npz")
    assert main(["generate", plain, "--seeds", "0,1", "--save-w", w, "--out", str(tmp_path)]) == 0
    assert main(["mix", plain, "--rows-w", w, "--cols", "7", "--layers", "0", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.glob("w000?-*.png")} == {"w0000-0007.png", "w0001-0007.png"}
    film = tmp_path / "walk.mp4"
    assert main(["interpolate", plain, "--w", w, "--frames", "2", "--curve", "cubic", "--out", str(film)]) == 0
    assert film.stat().st_size > 0


def test_an_open_walk_ends_at_its_last_seed(plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "walk.mp4"
    arguments = ["--seeds", "0,1", "--frames", "3", "--open", "--space", "z", "--curve", "spherical"]
    assert main(["interpolate", plain, *arguments, "--out", str(film)]) == 0
    assert capsys.readouterr().out == f"4 frames in {film}\n"


def test_walks_through_z_that_cannot_be_are_explained(
    plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["interpolate", plain, "--frames", "2", "--space", "z", "--out", str(tmp_path / "walk.mp4")]
    assert main([*common, "--w", "unread.npz"]) == 1
    expected = "error: a walk through z starts from --seeds; a file holds w. Leave out --space z.\n"
    assert capsys.readouterr().err == expected
    assert main([*common, "--seeds", "0,1", "--psi", "0.5", "--truncate-towards", "clusters:2"]) == 1
    assert capsys.readouterr().err == (
        "error: a walk through z would jump where its nearest cluster centre changes. Leave out --space z, or truncate "
        "towards mean or class.\n"
    )


def test_a_class_at_psi_zero_is_one_picture_and_each_class_another(conditional: str, tmp_path: Path) -> None:
    arguments = ["--seeds", "0,1", "--psi", "0", "--truncate-towards", "class", "--center-samples", "50"]
    assert main(["generate", conditional, "--every-class", *arguments, "--out", str(tmp_path)]) == 0
    first, second = ([path.read_bytes() for path in sorted(tmp_path.glob(f"*seed000{seed}.png"))] for seed in (0, 1))
    assert first == second
    assert len(set(first)) == 3


def test_clusters_at_psi_zero_are_that_many_pictures(plain: str, tmp_path: Path) -> None:
    arguments = ["--seeds", "0-19", "--psi", "0", "--truncate-towards", "clusters:3", "--center-samples", "100"]
    for seed in "01":
        folder = tmp_path / seed
        assert main(["generate", plain, *arguments, "--center-seed", seed, "--out", str(folder)]) == 0
        assert len({path.read_bytes() for path in folder.iterdir()}) == 3


def test_truncation_towards_something_at_psi_one_is_refused(
    plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", plain, "--seeds", "0", "--truncate-towards", "clusters:2", "--out", str(tmp_path)]) == 1
    expected = "error: --truncate-towards changes nothing at psi 1. Add a smaller one, such as --psi 0.7.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("bad", ["median", "clusters", "clusters:0", "clusters:-1", "clusters:x"])
def test_a_bad_goal_of_truncation_is_explained(plain: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", plain, "--seeds", "0", "--truncate-towards", bad, "--out", "unused"])
    expected = f"{bad!r} is neither mean, class nor clusters:K with a number, as clusters:8\n"
    assert capsys.readouterr().err.endswith(expected)


@pytest.mark.parametrize("bad", ["x", "nan", "inf", ""])
def test_a_bad_list_of_psis_is_explained(plain: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", plain, "--seeds", "0", f"--strip={bad}", "--out", "unused"])
    expected = f"argument --strip: {bad!r} is not a finite number; write numbers like 0,0.5,1\n"
    assert capsys.readouterr().err.endswith(expected)


def test_a_cutoff_leaves_later_layers_alone_in_every_command(plain: str, tmp_path: Path) -> None:
    for cutoff in ("1", "6"):
        arguments = ["--rows", "0", "--cols", "1", "--layers", "0", "--psi", "0", "--cutoff", cutoff]
        assert main(["mix", plain, *arguments, "--out", str(tmp_path / cutoff)]) == 0
    assert (tmp_path / "1/grid.png").read_bytes() != (tmp_path / "6/grid.png").read_bytes()


def test_a_sheet_is_enlarged_and_names_its_pictures_unless_told_otherwise(plain: str, tmp_path: Path) -> None:
    arguments = ["generate", plain, "--seeds", "0-3", "--sheet", "--out", str(tmp_path)]
    assert main(arguments) == 0
    width, height = size_of(tmp_path / "sheet.png")
    assert width == 2 * 128
    assert height > 2 * 128
    assert main([*arguments, "--no-captions"]) == 0
    assert size_of(tmp_path / "sheet.png") == (256, 256)
    assert main([*arguments, "--no-captions", "--scale", "3"]) == 0
    assert size_of(tmp_path / "sheet.png") == (96, 96)


@pytest.mark.parametrize("suffix", ["gif", "GIF"])
def test_interpolate_writes_a_gif_where_it_is_asked_for_one(plain: str, tmp_path: Path, suffix: str) -> None:
    film = tmp_path / f"walk.{suffix}"
    assert main(["interpolate", plain, "--seeds", "0,1", "--frames", "3", "--out", str(film)]) == 0
    with Image.open(film) as found:
        assert (found.format, found.n_frames, found.size) == ("GIF", 6, (256, 256))  # type: ignore[attr-defined]


def test_other_kinds_of_film_are_refused_before_anything_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("walk.webm", "walk"):
        film = tmp_path / name
        assert main(["interpolate", "unread", "--seeds", "0,1", "--frames", "3", "--out", str(film)]) == 1
        expected = f"error: {film}: videos are written as .mp4 or .gif. Give the file such an ending.\n"
        assert capsys.readouterr().err == expected
    film = tmp_path / "walk.gif"
    assert main(["interpolate", "unread", "--seeds", "0,1", "--frames", "3", "--fps", "60", "--out", str(film)]) == 1
    expected = f"error: {film}: a GIF plays at most 50 frames a second, not 60. Lower --fps or write .mp4.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("space", ["w", "z"])
def test_each_cell_of_a_grid_walks_through_its_own_seeds(plain: str, tmp_path: Path, space: str) -> None:
    common = ["interpolate", plain, "--frames", "2", "--space", space, "--scale", "1"]
    assert main([*common, "--seeds", "0-11", "--grid", "2x3", "--out", str(tmp_path / "all.gif")]) == 0
    assert main([*common, "--seeds", "6,7", "--out", str(tmp_path / "one.gif")]) == 0
    with Image.open(tmp_path / "all.gif") as film, Image.open(tmp_path / "one.gif") as alone:
        assert (film.n_frames, film.size) == (4, (32, 48))  # type: ignore[attr-defined]
        second_row_right = np.asarray(film.convert("RGB").crop((16, 16, 32, 32))).astype(int)
        # A GIF has 256 colours, which six pictures share.
        assert np.abs(second_row_right - np.asarray(alone.convert("RGB"))).mean() < 12


def test_seeds_that_a_grid_cannot_share_out_are_refused(
    plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seeds, given in (("0-4", 5), ("0-1", 2)):
        arguments = ["--seeds", seeds, "--frames", "2", "--grid", "2x1", "--out", str(tmp_path / "walk.mp4")]
        assert main(["interpolate", plain, *arguments]) == 1
        assert capsys.readouterr().err == (
            f"error: a grid of 2 walks needs as many seeds for each, at least two: {given} seeds were given. Give 4.\n"
        )


@pytest.mark.parametrize("bad", ["4", "0x2", "4x", "4x2x1", "-1x2", "4000x2"])
def test_a_bad_grid_is_explained(plain: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["interpolate", plain, "--seeds", "0,1", "--frames", "2", f"--grid={bad}", "--out", "unused"])
    assert capsys.readouterr().err.endswith(f"{bad!r} is not columns x rows; write them like 4x2\n")


def test_no_option_takes_a_number_unchecked() -> None:
    """float takes nan and inf, int takes -1: options take the checked types of commands/arguments.py instead."""
    (commands,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    for name, parser in commands.choices.items():
        assert not [action.dest for action in parser._actions if action.type in (int, float)], name


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "x", ""])
def test_psi_is_a_finite_number(plain: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["generate", plain, "--seeds", "0"], ["detect", plain, "--real", "unread", "--num", "1"]):
        with pytest.raises(SystemExit):
            main([*command, f"--psi={bad}", "--out", "unused"])
        expected = f"argument --psi: {bad!r} is not a finite number; write one like 0.7\n"
        assert capsys.readouterr().err.endswith(expected)


@pytest.mark.parametrize("bad", ["nan", "inf", "0", "-0.1"])
def test_a_learning_rate_is_above_zero(plain: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["project", plain, "unread.png", f"--learning-rate={bad}", "--out", "unused"])
    assert capsys.readouterr().err.endswith(f"{bad!r} is not a finite number above 0; write one like 0.1\n")


@pytest.mark.parametrize("bad", ["-1", "1.5", str(2**32), "9" * 5000])
def test_a_seed_is_a_whole_number_that_numpy_takes(plain: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command, option in (
        (["generate", plain, "--seeds", "0"], "--center-seed"),
        (["project", plain, "x"], "--seed"),
    ):
        with pytest.raises(SystemExit):
            main([*command, f"{option}={bad}", "--out", "unused"])
        expected = f"argument {option}: {bad!r} is not a whole number from 0 to 4294967295\n"
        assert capsys.readouterr().err.endswith(expected)


def test_a_list_that_would_fill_the_memory_is_refused(plain: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", plain, "--seeds", "0-99999999", "--out", "unused"])
    expected = "'0-99999999' has more than 1000000 numbers; ask for fewer at a time\n"
    assert capsys.readouterr().err.endswith(expected)


@pytest.mark.parametrize("name", ["G.PKL", "G.pickle", "G", "G.safetensors", "G.bin"])
def test_an_official_file_is_known_by_its_content_whatever_it_is_called(
    repository: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes((repository / "tests/parity/data/uncond_r32.pkl").read_bytes())
    assert main(["generate", str(path), "--seeds", "0", "--out", str(tmp_path)]) == 0
    assert size_of(tmp_path / "seed0000.png") == (32, 32)


@pytest.mark.parametrize("name", ["G.pkl", "G", "G.PKL"])
def test_a_generator_of_this_project_is_known_by_its_content_too(plain: str, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(Path(plain).read_bytes())
    assert main(["generate", str(path), "--seeds", "0", "--out", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("G.PKL", b"<html>", "it does not begin like a pickle of protocol 2 to 5"),
        ("G", b"PK\3\4 of torch.save", "it is a zip file, as torch.save writes them"),
        ("G", b"<html>", "not a safetensors file, or damaged"),
        ("G.safetensors", b"", "not a safetensors file, or damaged"),
    ],
)
def test_files_of_another_kind_are_refused_as_what_they_seem(
    tmp_path: Path, name: str, content: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert main(["generate", str(path), "--seeds", "0", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_pictures_and_films_have_the_generators_channels(
    tiny_params: Params, tmp_path: Path, channels: int, mode: str
) -> None:
    path = save(tmp_path / "G.safetensors", tiny_params, c_dim=0, channels=channels)
    assert main(["generate", path, "--seeds", "0,1", "--sheet", "--out", str(tmp_path)]) == 0
    for name in ("seed0000.png", "sheet.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.mode == mode
    film = str(tmp_path / "walk.mp4")
    assert main(["interpolate", path, "--seeds", "0,1", "--frames", "1", "--out", film]) == 0


def test_channels_that_a_picture_cannot_hold_lie_beside_it(tiny_params: Params, tmp_path: Path) -> None:
    path = save(tmp_path / "G.safetensors", tiny_params, c_dim=0, channels=5)
    assert main(["generate", path, "--seeds", "0", "--out", str(tmp_path)]) == 0
    pixels = np.load(tmp_path / "seed0000.npy")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (16, 16, 5))
    with Image.open(tmp_path / "seed0000.png") as picture:
        assert np.array_equal(np.asarray(picture), pixels[:, :, :3])
    arguments = ["--rows", "0", "--cols", "1", "--layers", "0", "--out", str(tmp_path)]
    assert main(["mix", path, *arguments]) == 0
    assert (tmp_path / "0000-0001.npy").exists()


def test_export_writes_a_file_and_its_description(
    named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "G.safetensors"
    assert main(["export", named, "--format", "safetensors", "--out", str(out)]) == 0
    expected = f"{out} draws what torch draws, with a difference of at most 0.0e+00\n"
    assert capsys.readouterr().out == expected
    assert json.loads((tmp_path / "G.safetensors.json").read_text())["class_names"] == ["circle", "square", "star"]
