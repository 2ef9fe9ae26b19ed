"""stylegan.load: the Python interface draws what the commands draw, and says what does not fit."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import stylegan
from pipelines.params import Params
from stylegan.__main__ import main
from stylegan.checkpoint import save_generator
from stylegan.networks import Generator
from tests.official_files import official, small_discriminator, small_generator

QUICK = ("--distance", "random", "--steps", "3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_params: Params) -> Path:
    """A generator, one for two classes, a grey and a wide one, each with a mean style and noise."""
    folder = tmp_path_factory.mktemp("model")
    for name, size, channels, c_dim in (("plain", 16, 3, 0), ("conditional", 16, 3, 2), ("grey", (16, 24), 1, 0)):
        torch.manual_seed(0)
        G = Generator(tiny_params.generator, img_resolution=size, img_channels=channels, c_dim=c_dim)
        G.mapping.w_avg.normal_()
        for parameter_name, parameter in G.named_parameters():
            if parameter_name.endswith("noise_strength"):
                parameter.data.fill_(0.5)
        save_generator(G, folder / f"{name}.safetensors", ["circle", "square"] if c_dim else None)
    return folder


@pytest.fixture(scope="module", name="model")
def unconditional(folder: Path) -> stylegan.Model:
    return stylegan.load(folder / "plain.safetensors")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import stylegan, sys; assert 'torch' not in sys.modules; stylegan.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_the_public_names_are_there() -> None:
    assert all(callable(getattr(stylegan, name)) for name in stylegan.__all__)
    with pytest.raises(AttributeError, match="module 'stylegan' has no attribute 'lod'"):
        _ = stylegan.lod  # type: ignore[attr-defined]


@pytest.mark.parametrize("psi", [1.0, 0.7])
def test_generate_draws_the_bits_of_the_command(
    folder: Path, model: stylegan.Model, tmp_path: Path, psi: float
) -> None:
    seeds = range(18)  # more than a batch
    arguments = ["--seeds", "0-17", "--psi", str(psi), "--cutoff", "3", "--out", str(tmp_path)]
    assert main(["generate", str(folder / "plain.safetensors"), *arguments]) == 0
    drawn = model.generate(seeds, psi=psi, cutoff=3)
    assert (drawn.dtype, drawn.shape) == (np.uint8, (18, *model.shape))
    for seed, image in zip(seeds, drawn, strict=True):
        assert np.array_equal(image, pixels(tmp_path / f"seed{seed:04d}.png"))


def test_a_label_is_a_name_a_number_or_a_vector(folder: Path, tmp_path: Path) -> None:
    model = stylegan.load(str(folder / "conditional.safetensors"))
    assert model.class_names == ["circle", "square"]
    arguments = ["--seeds", "0", "--class", "square", "--out", str(tmp_path)]
    assert main(["generate", str(folder / "conditional.safetensors"), *arguments]) == 0
    expected = pixels(tmp_path / "seed0000.png")
    for label in ("square", "1", 1, np.int64(1), [0.0, 1.0]):
        assert np.array_equal(model.generate([0], label=label)[0], expected)
    assert not np.array_equal(model.generate([0], label="circle")[0], expected)


def test_mix_draws_the_bits_of_the_command(folder: Path, model: stylegan.Model, tmp_path: Path) -> None:
    arguments = ["--rows", "1,2", "--cols", "3-5", "--layers", "0,1", "--psi", "0.7", "--out", str(tmp_path)]
    assert main(["mix", str(folder / "plain.safetensors"), *arguments]) == 0
    mixed = model.mix([1, 2], [3, 4, 5], [0, 1], psi=0.7)
    assert mixed.shape == (2, 3, *model.shape)
    for row, images in zip((1, 2), mixed, strict=True):
        for col, image in zip((3, 4, 5), images, strict=True):
            assert np.array_equal(image, pixels(tmp_path / f"{row:04d}-{col:04d}.png"))


@pytest.mark.parametrize(("loop", "count"), [(True, 8), (False, 5)])
def test_a_walk_passes_through_its_seeds(model: stylegan.Model, loop: bool, count: int) -> None:
    frames = model.interpolate([3, 4], 4, psi=0.7, loop=loop)
    assert frames.shape == (count, *model.shape)
    ends = model.generate([3, 4], psi=0.7)
    # Convolutions of other batch sizes sum in another order, which may tip a value over a rounding edge.
    assert np.abs(frames[[0, 4]].astype(int) - ends).max() <= 1
    assert not np.array_equal(frames[2], frames[0])


def test_styles_and_render_are_the_two_halves_of_generate(model: stylegan.Model) -> None:
    w = model.styles([0, 1], psi=0.5)
    assert (w.dtype, w.shape) == (np.float32, (2, model.G.num_ws, model.G.w_dim))
    assert np.array_equal(model.render(w), model.generate([0, 1], psi=0.5))


def test_project_finds_what_the_command_finds(folder: Path, model: stylegan.Model, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    stylegan.to_pil(model.generate([7]))[0].save(photo)
    assert main(["project", str(folder / "plain.safetensors"), str(photo), "--out", str(tmp_path), *QUICK]) == 0
    calls: list[tuple[int, int]] = []
    found = model.project(
        photo, steps=3, distance="random", progress=lambda step, steps, _: calls.append((step, steps))
    )  # fmt: skip
    assert calls == [(step, 3) for step in range(4)]
    assert np.array_equal(found.image, pixels(tmp_path / "photo/proj.png"))
    assert np.array_equal(found.target, pixels(photo))
    (result,) = json.loads((tmp_path / "summary.json").read_text())["results"]
    assert found.distance == result["end"]
    assert np.array_equal(model.render(found.w[None], noise=found.noise)[0], found.image)
    assert found.note == ""


def test_a_target_may_be_a_file_a_pillow_image_or_an_array(model: stylegan.Model, tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 60, 3), np.uint8))
    image.save(tmp_path / "wide.png")
    results = [
        model.project(each, steps=1, distance="random") for each in (tmp_path / "wide.png", image, np.asarray(image))
    ]
    for found in results:
        assert np.array_equal(found.image, results[0].image)
        assert found.note.endswith("60 x 20 cut to the centre, now 16 x 16")


def test_projection_leaves_the_generator_and_torchs_random_numbers_alone(model: stylegan.Model) -> None:
    before, state = model.generate([0]), torch.get_rng_state()
    model.project(before[0], steps=2, distance="random", optimize_noise=False)
    assert np.array_equal(model.generate([0]), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_grey_and_wide_images_become_pillow_images(folder: Path) -> None:
    model = stylegan.load(folder / "grey.safetensors")
    assert (model.shape, repr(model)) == (
        (16, 24, 1),
        f"<stylegan.Model 24x16, 1 channels, {model.G.num_ws} style layers>",
    )
    images = stylegan.to_pil(model.mix([0], [1, 2], [0]))
    assert [(image.mode, image.size) for image in images] == [("L", (24, 16))] * 2
    found = model.project(images[0], steps=1, distance="random")
    assert found.image.shape == model.shape


def test_an_official_file_draws_the_bits_of_its_conversion(tmp_path: Path) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(official(small_generator(), small_discriminator()))
    assert main(["import", str(path), str(tmp_path / "network.safetensors")]) == 0
    original, own = (stylegan.load(tmp_path / name) for name in ("network.pkl", "network.safetensors"))
    assert np.array_equal(original.generate([0, 1], psi=0.7), own.generate([0, 1], psi=0.7))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.generate([-1]), "seed -1: seeds are whole numbers from 0 to 4294967295"),
        (lambda model: model.generate([0], label="x"),
         "class x was requested, but this generator is unconditional. Leave the class out."),
        (lambda model: model.mix([0], [1], [99]), "layer 99 does not exist; this generator has 0 to "),
        (lambda model: model.interpolate([0], 3), "an interpolation needs at least two points, got 1"),
        (lambda model: model.render(np.zeros((2, 3), np.float32)), "w is [2, 3], but this generator takes [N, "),
        (lambda model: model.render(model.styles([0]), noise={"b4.conv.noise": np.zeros((1, 4, 4))}, noise_mode="none"),
         "noise_mode is 'none', but the noise maps replace the generator's own. Leave out noise or noise_mode."),
        (lambda model: stylegan.to_pil(np.zeros((2, 2, 3))), "images are uint8 [..., H, W, C], but this array is "),
        (lambda model: model.project(np.zeros((2, 2, 3))), "images are uint8 [..., H, W, C], but this array is "),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_one_line(model: stylegan.Model, call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError) as error:  # noqa: PT011 - compared below, brackets and all
        call(model)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_conditional_generator_names_its_labels(folder: Path) -> None:
    model = stylegan.load(folder / "conditional.safetensors")
    with pytest.raises(ValueError, match=r"^this generator is conditional\. Choose a label: circle, square\.$"):
        model.generate([0])


def test_files_and_devices_that_cannot_be_used_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        stylegan.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no generator")
    with pytest.raises(ValueError, match=r"text\.safetensors"):
        stylegan.load(tmp_path / "text.safetensors")
    with pytest.raises(ValueError, match="'abacus' cannot be used on this machine"):
        stylegan.load(folder / "plain.safetensors", device="abacus")
