"""stylegan.data.transforms and archive: what is bad, what is converted and how, and what the zip holds."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ImageCms import ImageCmsProfile, createProfile

from pipelines.params import Params
from stylegan.config.sections import PrepareConfig
from stylegan.data import ImageDataset
from stylegan.data.archive import (
    Check,
    Source,
    check_all,
    choose_holdout,
    convert_all,
    manifest,
    ordered_map,
    plan_archive,
    refuse_losses,
    write_archive,
)
from stylegan.data.arrays import Pixels, decode_array
from stylegan.data.layout import ArchiveError
from stylegan.data.sources import open_source
from stylegan.data.transforms import check_image, convert_image

Make = Callable[..., Params]


def encode(image: Image.Image, suffix: str = "png", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=suffix, **options)
    return buffer.getvalue()


def decode(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    return image


def noise(width: int, height: int, channels: int = 3) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    return Image.fromarray(pixels.squeeze())


def build(config: PrepareConfig, target: Path, workers: int = 1) -> dict[str, object]:
    """The whole way from source to archive, without the stage's console"""
    source = open_source(config, earth=target / "none.jpg")
    plan = plan_archive(source, list(check_all(source, config, workers)), config)
    refuse_losses(source, plan, config)
    digest = write_archive(target, plan, convert_all(source, plan, config, workers))
    return manifest(source, plan, config, digest)


def reason_of(data: bytes | Pixels, config: PrepareConfig) -> str | None:
    problem = check_image(data, config).problem
    return problem.reason if problem else None


@pytest.fixture
def mixed_folder(tmp_path: Path, write_pictures: Callable[..., list[str]]) -> Path:
    """Three good pictures, and one of every kind of bad one"""
    folder = tmp_path / "mixed"
    write_pictures(folder / "deep" / "er", 3)
    jpeg = encode(noise(64, 64), "jpeg")
    (folder / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "text.png").write_text("this is not a picture\n")
    Image.new("LAB", (20, 20)).save(folder / "print.tif")
    Image.fromarray(np.full((20, 20), 40000, np.uint16)).save(folder / "sixteen.png")
    noise(24, 20).save(folder / "wide.png")
    frames = [Image.new("L", (20, 20), shade) for shade in (0, 100, 200)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "README.txt").write_text("about these pictures")
    return folder


REASONS = {
    "moving.gif": "is animated or has pages (2 or more frames); save the frame you want as a file",
    "print.tif": "is LAB, whose colours depend on a profile; save it as RGB",
    "sixteen.png": "has more than 8 bits per channel; save it with 8",
    "text.png": "cannot be decoded (not an image file); replace or remove it",
    "truncated.jpg": "cannot be decoded (image file is truncated (24 bytes not processed)); replace or remove it",
    "wide.png": "is not square (24 x 20); set prepare.transform to center-crop",
}


def test_prints_are_converted_as_inks_on_paper(make_params: Make) -> None:
    """A CMYK JPEG, as Adobe stores it inverted"""
    config = make_params("prepare.transform=none").prepare
    colours = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 200, 90)]
    for colour in colours:
        data = encode(Image.new("RGB", (16, 16), colour).convert("CMYK"), "jpeg", quality=100)
        assert decode(data).mode == "CMYK"
        assert reason_of(data, config) is None
        found = decode(convert_image(data, config, "RGB"))
        assert found.mode == "RGB"
        assert np.abs(np.asarray(found, int) - colour).max() <= 3  # what a JPEG loses


# What Pillow writes, as people have it: no profile, one that cannot be read, one for colours of a screen.
@pytest.mark.parametrize("profile", [None, b"no profile", ImageCmsProfile(createProfile("sRGB")).tobytes()])
def test_a_print_whose_profile_does_not_fit_is_converted_plainly(make_params: Make, profile: bytes | None) -> None:
    image = noise(16, 16).convert("CMYK")
    data = encode(image, "jpeg", icc_profile=profile)
    expected = np.asarray(decode(data).convert("RGB"))
    assert np.array_equal(decode(convert_image(data, make_params().prepare, "RGB")), expected)


def test_a_print_is_converted_by_its_profile(make_params: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """No profile of a press is at hand: this one's place is taken, and its bytes have to arrive."""
    asked = []

    def convert(image: Image.Image, inks: object, screen: object, outputMode: str) -> Image.Image:
        asked.append((image.mode, outputMode))
        return Image.new(outputMode, image.size, (1, 2, 3))

    monkeypatch.setattr("PIL.ImageCms.profileToProfile", convert)
    profile = ImageCmsProfile(createProfile("sRGB")).tobytes()
    data = encode(noise(16, 16).convert("CMYK"), "jpeg", icc_profile=profile)
    assert decode(convert_image(data, make_params().prepare, "RGB")).getpixel((0, 0)) == (1, 2, 3)
    assert asked == [("CMYK", "RGB")]


def test_every_bad_file_is_listed_with_its_reason_and_the_good_ones_are_kept(
    make_params: Make, mixed_folder: Path, tmp_path: Path
) -> None:
    config = make_params(f"prepare.source={mixed_folder}", "prepare.max_bad_share=1").prepare
    facts = build(config, tmp_path / "archive.zip")
    found = {Path(file["source"]).name: file["reason"] for file in facts["bad_files"]}
    assert found.keys() == REASONS.keys()
    # How many bytes are left over is the decoder's affair.
    assert found.pop("truncated.jpg").startswith("cannot be decoded (image file is truncated (")
    assert found == {name: reason for name, reason in REASONS.items() if name != "truncated.jpg"}
    assert [image["source"] for image in facts["images"]] == [
        f"{mixed_folder}/deep/er/good{n:02d}.png" for n in range(3)
    ]
    assert facts["ignored_files"] == [f"{mixed_folder}/README.txt"]


def test_more_bad_files_than_allowed_stop_with_one_line_that_names_the_commonest_and_its_remedy(
    make_params: Make, mixed_folder: Path, tmp_path: Path
) -> None:
    noise(30, 20).save(mixed_folder / "wider.png")
    config = make_params(f"prepare.source={mixed_folder}", "prepare.max_bad_share=0.69").prepare
    with pytest.raises(ArchiveError) as error:
        build(config, tmp_path / "archive.zip")
    assert str(error.value) == (
        f"{mixed_folder}: 7 of 10 images (70.0%) cannot be used, above prepare.max_bad_share = 0.69. Most often (2) an "
        "image cannot be decoded: replace or remove it. To do without, set prepare.max_bad_share to 0.7."
    )
    assert not (tmp_path / "archive.zip").exists()


@pytest.mark.parametrize(("num_bad", "share"), [(1, 0.0), (2, 0.1), (3, 0.2)])
def test_the_share_that_the_error_names_is_enough(
    make_params: Make, tmp_path: Path, write_pictures: Callable[..., list[str]], num_bad: int, share: float
) -> None:
    write_pictures(tmp_path / "set", 7)
    for number in range(num_bad):
        (tmp_path / "set" / f"bad{number}.png").write_text("no picture")
    source = f"prepare.source={tmp_path / 'set'}"
    with pytest.raises(ArchiveError) as error:
        build(make_params(source, f"prepare.max_bad_share={share}").prepare, tmp_path / "a.zip")
    named = str(error.value).split("prepare.max_bad_share to ")[1].rstrip(".")
    facts = build(make_params(source, f"prepare.max_bad_share={named}").prepare, tmp_path / "a.zip")
    assert (facts["num_images"], facts["num_bad"]) == (7, num_bad)


def test_a_source_without_any_good_picture_is_refused_whatever_is_allowed(make_params: Make, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("nothing")
    with pytest.raises(ArchiveError) as error:
        build(make_params(f"prepare.source={tmp_path}", "prepare.max_bad_share=1").prepare, tmp_path / "archive.zip")
    assert str(error.value) == (
        f"{tmp_path}: none of 1 images can be used. Most often (1) an image cannot be decoded: replace or remove it."
    )


def test_sixteen_bit_colour_is_found_though_pillow_hides_it(make_params: Make) -> None:
    header = bytes.fromhex("89504e470d0a1a0a")

    def chunk(kind: bytes, data: bytes) -> bytes:
        import zlib

        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    import zlib

    rows = b"".join(b"\0" + bytes(4 * 6) for _ in range(4))
    ihdr = (4).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    png = header + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert check_image(png, make_params().prepare).mode == "RGB"
    assert reason_of(png, make_params().prepare) == "has more than 8 bits per channel; save it with 8"


def test_an_animated_png_and_webp_are_found(make_params: Make) -> None:
    frames = [Image.new("RGB", (8, 8), shade) for shade in ("red", "blue")]
    for suffix in ("png", "webp"):
        data = encode(frames[0], suffix, save_all=True, append_images=frames[1:])
        reason = reason_of(data, make_params().prepare)
        assert reason == "is animated or has pages (2 frames); save the frame you want as a file"


def test_a_file_that_cannot_be_read_is_listed(make_params: Make) -> None:
    def read(index: int) -> bytes:
        raise PermissionError("permission denied")

    (check,) = check_all(Source("s", ["s/a.png"], read), make_params().prepare, workers=1)
    assert check.problem is not None
    assert check.problem.reason == "cannot be read (permission denied); replace or remove it"


def test_a_file_that_changes_after_the_check_is_named(make_params: Make, tmp_path: Path) -> None:
    noise(16, 16).save(tmp_path / "a.png")
    config = make_params(f"prepare.source={tmp_path}").prepare
    source = open_source(config, tmp_path)
    plan = plan_archive(source, list(check_all(source, config, 1)), config)
    (tmp_path / "a.png").write_text("gone")
    with pytest.raises(ArchiveError, match=r"a\.png: passed the check but cannot be converted .* Prepare again\.$"):
        write_archive(tmp_path / "archive.zip", plan, convert_all(source, plan, config, 1))
    assert not list(tmp_path.glob("*archive*"))


def test_keep_refuses_the_minority_and_names_the_remedy(make_params: Make, tmp_path: Path) -> None:
    for number in range(3):
        noise(16, 16).save(tmp_path / f"{number}.png")
    noise(16, 16).convert("L").save(tmp_path / "grey.png")
    noise(16, 16).convert("P").save(tmp_path / "palette.png")
    config = make_params(f"prepare.source={tmp_path}", "prepare.mode=keep", "prepare.max_bad_share=1").prepare
    facts = build(config, tmp_path / "a.zip")
    assert facts["mode"] == "RGB"
    assert [file["reason"] for file in facts["bad_files"]] == [
        "is L, most are RGB, and prepare.mode keep needs one; set prepare.mode to RGB",
        "is P, which prepare.mode keep cannot keep; set prepare.mode to L, LA, RGB or RGBA",
    ]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("original", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_becomes_the_mode_asked_for(make_params: Make, original: str, mode: str) -> None:
    data = encode(noise(16, 16).convert("RGBA").convert(original))
    config = make_params(f"prepare.mode={mode}", "augment.mode=none").prepare
    assert check_image(data, config).problem is None
    assert decode(convert_image(data, config, mode)).mode == mode


def test_transparent_pixels_become_white_when_the_mode_has_no_alpha(make_params: Make) -> None:
    data = encode(Image.new("RGBA", (16, 16), (200, 0, 0, 0)))
    assert decode(convert_image(data, make_params().prepare, "RGB")).getpixel((3, 3)) == (255, 255, 255)
    assert decode(convert_image(data, make_params().prepare, "L")).getpixel((3, 3)) == 255


def test_pictures_of_the_right_size_and_mode_keep_every_pixel(make_params: Make) -> None:
    image = noise(16, 16)
    out = decode(convert_image(encode(image), make_params().prepare, "RGB"))
    assert np.array_equal(np.asarray(out), np.asarray(image))


def test_a_picture_is_turned_as_its_exif_orientation_says(make_params: Make) -> None:
    image = Image.new("RGB", (16, 16), "black")
    image.paste("white", (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    out = decode(convert_image(encode(image, exif=exif), make_params().prepare, "L"))
    assert (out.getpixel((8, 2)), out.getpixel((8, 13))) == (0, 255)


def test_center_crop_takes_the_middle_square(make_params: Make) -> None:
    image = Image.new("L", (48, 16), 0)
    image.paste(255, (16, 0, 32, 16))
    config = make_params("prepare.transform=center-crop").prepare
    assert check_image(encode(image), config).problem is None
    assert decode(convert_image(encode(image), config, "L")).getextrema() == (255, 255)


@pytest.mark.parametrize(("width", "height"), [(80, 16), (16, 80), (60, 40), (31, 57)])
def test_center_crop_takes_the_middle_of_the_shape_asked_for(make_params: Make, width: int, height: int) -> None:
    """Grey levels are coordinates, so they show where the window lay: centred, as large as fits, not stretched."""
    config = make_params("prepare.resolution=[16, 24]", "prepare.transform=center-crop").prepare
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    picture = encode(Image.fromarray(np.stack([x, y, x], axis=2).astype(np.uint8)))
    assert check_image(picture, config).problem is None
    out = np.asarray(decode(convert_image(picture, config, "RGB")), float)
    assert out.shape == (16, 24, 3)
    wide, high = min(width, height * 24 / 16), min(height, width * 16 / 24)
    assert out[..., 0].mean() == pytest.approx((width - 1) / 2, abs=1)
    assert out[..., 1].mean() == pytest.approx((height - 1) / 2, abs=1)
    assert np.ptp(out[..., 0]) == pytest.approx(wide * 23 / 24, abs=2)
    assert np.ptp(out[..., 1]) == pytest.approx(high * 15 / 16, abs=2)


def test_without_a_transform_the_shape_must_be_right(make_params: Make) -> None:
    config = make_params("prepare.resolution=[16, 24]").prepare
    for width, height in ((48, 32), (103, 69), (103, 68)):  # 103 x 68.67 is no whole number of pixels
        assert check_image(encode(noise(width, height)), config).problem is None
    assert check_image(encode(noise(103, 67)), config).problem is not None
    reason = reason_of(encode(noise(16, 16)), config)
    assert reason == "is not of the shape 24 x 16 (16 x 16); set prepare.transform to center-crop"


def save_array(path: Path, *shape: int, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)
    np.save(path, pixels)
    return pixels


def test_arrays_of_five_channels_are_stored_as_they_are(make_params: Make, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    pixels = [save_array(tmp_path / "set" / f"{n}.npy", 16, 16, 5, seed=n) for n in range(3)]
    save_array(tmp_path / "set" / "deep.npy", 16, 16, 5, dtype=np.uint16)
    noise(16, 16).save(tmp_path / "set" / "photo.png")
    (tmp_path / "set" / "cut.npy").write_bytes((tmp_path / "set" / "0.npy").read_bytes()[:-1])
    source = f"prepare.source={tmp_path / 'set'}"
    config = make_params(source, "prepare.mode=keep", "prepare.max_bad_share=0.5").prepare
    facts = build(config, tmp_path / "a.zip")
    assert facts["mode"] == "5-channel"
    assert {Path(file["source"]).name: file["reason"] for file in facts["bad_files"]} == {
        "cut.npy": "cannot be decoded (1279 bytes of pixels, expected 16 x 16 x 5); replace or remove it",
        "deep.npy": "cannot be decoded (uint16 [16, 16, 5], expected uint8 [H, W] or [H, W, C]); replace or remove it",
        "photo.png": "is RGB, most are 5-channel, and prepare.mode keep needs one; leave it out",
    }
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == [*(f"00000/img{n:08d}.npy" for n in range(3)), "dataset.json"]
    data = ImageDataset(tmp_path / "a.zip", use_labels=False, xflip=False, split="all", max_images=None)
    assert (data.channels, data.resolution, data.img_shape) == (5, 16, (5, 16, 16))
    assert np.array_equal(data.batch(range(3))[0].numpy(), np.stack(pixels).transpose(0, 3, 1, 2))


def test_arrays_of_many_channels_need_the_mode_keep(make_params: Make) -> None:
    reason = reason_of(np.zeros((16, 16, 5), np.uint8), make_params("prepare.mode=RGB").prepare)
    assert reason == "has 5 channels, prepare.mode RGB does not; set prepare.mode to keep"


def test_channels_of_an_array_are_resized_alone(make_params: Make, tmp_path: Path) -> None:
    """As a grey picture each, so an empty last channel does not hide the others as transparency would."""
    pixels = save_array(tmp_path / "a.npy", 40, 60, 6)
    pixels[..., 5] = 0
    config = make_params("prepare.resolution=[16, 24]", "prepare.transform=center-crop", "prepare.mode=keep").prepare
    out = decode_array(convert_image(pixels, config, "6-channel"))
    for channel in range(6):
        grey = np.asarray(decode(convert_image(np.ascontiguousarray(pixels[..., channel]), config, "L")))
        assert np.array_equal(out[..., channel], grey)


@pytest.mark.parametrize(
    ("shape", "mode"), [((16, 16), "L"), ((16, 16, 1), "L"), ((16, 16, 2), "LA"), ((16, 16, 3), "RGB")]
)
def test_arrays_that_are_pictures_become_pictures(
    make_params: Make, tmp_path: Path, shape: tuple[int, ...], mode: str
) -> None:
    pixels = save_array(tmp_path / "a.npy", *shape)
    data = (tmp_path / "a.npy").read_bytes()
    config = make_params("prepare.mode=keep").prepare
    assert check_image(data, config).mode == mode
    assert np.array_equal(np.asarray(decode(convert_image(data, config, mode))).reshape(shape), pixels)


def test_an_array_in_columns_is_read_in_rows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 5), np.uint8)
    file = io.BytesIO()
    np.save(file, np.asfortranarray(pixels))
    assert np.array_equal(decode_array(file.getvalue()), pixels)


def test_an_array_of_objects_is_refused_unread() -> None:
    file = io.BytesIO()
    np.save(file, np.array([[print]], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"^object \[1, 1\], expected uint8"):
        decode_array(file.getvalue())


def test_the_manifest_counts_label_vectors(make_params: Make, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    labels = [[1, 0, 0.5], [1, 1, -2], [0, 0, 0]]
    for number in range(3):
        noise(16, 16).save(tmp_path / "set" / f"{number}.png")
    index = {"labels": [[f"{number}.png", label] for number, label in enumerate(labels)]}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(index))
    config = make_params(f"prepare.source={tmp_path / 'set'}", "prepare.labels=file").prepare
    facts = build(config, tmp_path / "a.zip")
    assert facts["class_counts"] == {}
    assert facts["label_vectors"] == {
        "num_images": [2, 1, 2], "min": [0, 0, -2], "mean": [0.666667, 0.333333, -0.5], "max": [1, 1, 0.5],
    }  # fmt: skip


def test_center_crop_wide_leaves_black_bands_above_and_below(make_params: Make) -> None:
    config = make_params("prepare.transform=center-crop-wide").prepare
    out = np.asarray(decode(convert_image(encode(Image.new("L", (40, 24), 255)), config, "L")))
    assert out.shape == (16, 16)
    assert out[:2].max() == out[14:].max() == 0
    assert out[2:14].min() == 255


def test_center_crop_wide_refuses_what_is_too_small(make_params: Make) -> None:
    config = make_params("prepare.transform=center-crop-wide").prepare
    reason = reason_of(encode(noise(16, 11)), config)
    assert reason == "is smaller than the 16 x 12 that center-crop-wide needs (16 x 11); lower prepare.resolution"


def test_box_averages_and_lanczos_does_not(make_params: Make) -> None:
    data = encode(noise(32, 32, 1))
    box = np.asarray(decode(convert_image(data, make_params("prepare.resize_filter=box").prepare, "L")), float)
    sharp = np.asarray(decode(convert_image(data, make_params("prepare.resize_filter=lanczos").prepare, "L")), float)
    mean = np.asarray(decode(data), float).reshape(16, 2, 16, 2).mean((1, 3))
    assert np.abs(box - mean).max() <= 1  # rounded to uint8 after each of two passes
    assert np.abs(sharp - mean).max() > 5


def test_the_same_inputs_give_the_same_bytes_with_any_number_of_workers(
    make_params: Make, tmp_path: Path, write_pictures: Callable[..., list[str]]
) -> None:
    write_pictures(tmp_path / "images", 20)
    config = make_params(f"prepare.source={tmp_path / 'images'}").prepare
    facts = [build(config, tmp_path / f"{n}.zip", workers) for n, workers in enumerate((1, 1, 2, 5))]
    assert len({(tmp_path / f"{n}.zip").read_bytes() for n in range(4)}) == 1
    assert facts[0] == facts[3]


def test_the_zip_has_the_official_layout(make_params: Make, tmp_path: Path, tiny_archive: Path) -> None:
    with zipfile.ZipFile(tiny_archive) as archive:
        assert archive.namelist() == [*(f"00000/img{n:08d}.png" for n in range(24)), "dataset.json"]
        headers = {(info.compress_type, info.date_time, info.create_system) for info in archive.infolist()}
        assert headers == {(zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0), 3)}
        assert archive.getinfo("00000/img00000000.png").file_size > 16 * 16 * 3  # stored, not packed
        index = json.loads(archive.read("dataset.json"))
    assert index["labels"][0] == ["00000/img00000000.png", 0]
    assert index["labels"][-1] == ["00000/img00000023.png", 1]
    assert index["class_names"] == ["circle", "square"]
    assert len(index["holdout"]) == 6


def test_the_subset_is_drawn_by_seed_and_keeps_file_order(
    make_params: Make, tmp_path: Path, write_pictures: Callable[..., list[str]]
) -> None:
    write_pictures(tmp_path / "images", 20)
    chosen = []
    for seed in (0, 0, 1):
        config = make_params(
            f"prepare.source={tmp_path / 'images'}", "prepare.max_images=6", f"prepare.seed={seed}"
        ).prepare
        facts = build(config, tmp_path / "a.zip")
        chosen.append([image["source"] for image in facts["images"]])
    assert chosen[0] == chosen[1] == sorted(chosen[0])
    assert len(chosen[0]) == 6
    assert chosen[0] != chosen[2]


def test_copies_of_a_picture_are_on_the_same_side_of_the_split(
    make_params: Make, tmp_path: Path, write_pictures: Callable[..., list[str]]
) -> None:
    for copy in ("a", "b", "c"):
        write_pictures(tmp_path / "images" / copy, 10)
    config = make_params(f"prepare.source={tmp_path / 'images'}", "prepare.holdout_fraction=0.3").prepare
    images = build(config, tmp_path / "a.zip")["images"]
    sides: dict[str, set[str]] = {}
    for image in images:
        sides.setdefault(image["sha256"], set()).add(image["split"])
    assert all(len(side) == 1 for side in sides.values())
    assert sum(image["split"] == "holdout" for image in images) == 9


def test_groups_are_held_out_whole_and_come_nearest_to_the_fraction() -> None:
    groups = ["big"] * 50 + ["a"] * 10 + ["b"] * 10 + ["c"] * 30
    for seed in range(20):
        chosen = choose_holdout(groups, 0.2, seed)
        assert abs(sum(group in chosen for group in groups) - 20) <= 10
    assert choose_holdout(groups, 0.0, 0) == set()
    assert choose_holdout(["only"] * 5, 0.2, 0) == set()


def test_a_growing_set_keeps_nearly_all_of_its_split() -> None:
    small = [f"image{number}" for number in range(200)]
    before = choose_holdout(small, 0.2, 0)
    after = choose_holdout([*small, *(f"new{number}" for number in range(20))], 0.2, 0)
    assert len(before - after) <= 4  # the cut moves by the difference of two counts that are equal on average


def test_a_checked_label_is_needed_where_labels_are_asked_for(make_params: Make) -> None:
    source = Source("s", ["s/a.png", "s/b.png"], lambda index: b"", labels=[None, 1])
    checks = [Check("a", 16, 16, "RGB", pixels=b"a"), Check("b", 16, 16, "RGB", pixels=b"b")]
    plan = plan_archive(source, checks, make_params("prepare.labels=folders").prepare)
    assert plan.bad[0].problem.reason == "is not in a sub-folder of s; give it a class, or set prepare.labels to none"
    plan = plan_archive(source, checks, make_params("prepare.labels=file").prepare)
    assert plan.bad[0].problem.reason == "has no label in dataset.json; give it a class, or set prepare.labels to none"


def test_memory_is_bounded_because_few_items_are_ever_under_way() -> None:
    started: list[int] = []
    results = ordered_map(lambda item: started.append(item) or item, range(1000), workers=2)
    assert next(results) == 0
    assert next(results) == 1
    assert len(started) <= 8 + 1
    assert list(results) == list(range(2, 1000))
