"""stylegan.data.sources: every kind of source, its names, pictures, labels and errors."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.params import Params
from stylegan.data.archive import Source
from stylegan.data.layout import ArchiveError
from stylegan.data.sources import KINDS, open_source
from stylegan.data.transforms import check_image

Make = Callable[..., Params]


def opened(make_params: Make, path: Path | str, *overrides: str, earth: Path = Path("none.jpg")) -> Source:
    return open_source(make_params(f"prepare.source={path}", *overrides).prepare, earth)


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return target


@pytest.fixture
def classes(tmp_path: Path, write_pictures: Callable[..., list[str]]) -> Path:
    """pets/cat, pets/dog/brown and one picture beside them"""
    write_pictures(tmp_path / "set" / "pets" / "cat", 2)
    write_pictures(tmp_path / "set" / "pets" / "dog" / "brown", 2)
    return tmp_path / "set"


def test_a_folder_is_searched_to_its_depth_in_a_fixed_order(make_params: Make, classes: Path) -> None:
    source = opened(make_params, classes)
    names = ["cat/good00.png", "cat/good01.png", "dog/brown/good00.png", "dog/brown/good01.png"]
    assert source.names == [f"{classes}/pets/{name}" for name in names]
    assert source.labels is None
    assert Image.open(io.BytesIO(source.read(0))).size == (20, 20)


def test_a_zip_gives_what_its_folder_gives(make_params: Make, classes: Path, tmp_path: Path) -> None:
    folder = opened(make_params, classes, "prepare.labels=folders")
    archive = opened(make_params, zipped(classes, tmp_path / "set.zip"), "prepare.labels=folders")
    assert archive.names[0] == f"{tmp_path}/set.zip:pets/cat/good00.png"
    assert archive.read(3) == folder.read(3)
    assert (archive.labels, archive.class_names) == (folder.labels, folder.class_names)


def test_sub_folders_are_classes_below_whatever_folder_all_share(make_params: Make, classes: Path) -> None:
    source = opened(make_params, classes, "prepare.labels=folders")
    assert source.class_names == ["cat", "dog"]
    assert source.labels == [0, 0, 1, 1]


def test_a_picture_beside_the_class_folders_has_no_label(
    make_params: Make, classes: Path, write_pictures: Callable[..., list[str]]
) -> None:
    write_pictures(classes / "pets", 1)
    assert opened(make_params, classes, "prepare.labels=folders").labels == [0, 0, 1, 1, None]


def test_hidden_files_and_leftovers_of_macos_are_ignored(make_params: Make, classes: Path) -> None:
    (classes / "__MACOSX").mkdir()
    (classes / "__MACOSX" / "good00.png").write_text("no picture")
    (classes / "._good00.png").write_text("no picture")
    source = opened(make_params, classes)
    assert len(source.names) == 4
    assert source.ignored == [f"{classes}/._good00.png", f"{classes}/__MACOSX/good00.png"]


def test_dataset_json_labels_by_name_and_a_missing_file_is_bad(make_params: Make, classes: Path) -> None:
    labels = [["cat/good00.png", 4], ["dog/brown/good01.png", 0], ["dog/lost.png", 1]]
    index = {"labels": labels, "class_names": ["a", "b", "c", "d", "e"]}
    (classes / "pets" / "dataset.json").write_text(json.dumps(index))
    source = opened(make_params, classes, "prepare.labels=file")
    assert source.labels == [4, None, None, 0]
    assert source.class_names == ["a", "b", "c", "d", "e"]
    (bad,) = source.bad
    assert bad.source == f"{classes}/pets/dog/lost.png"
    assert bad.problem.reason == "is named in dataset.json but absent; add it, or remove its label"


def test_vectors_pass_through_as_labels(make_params: Make, classes: Path) -> None:
    labels = [["pets/cat/good00.png", [0.5, 1.0, 0.0]], ["pets/cat/good01.png", [1.0, 1.0, 1.0]]]
    (classes / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert opened(make_params, classes, "prepare.labels=file").labels == [[0.5, 1.0, 0.0], [1.0, 1.0, 1.0], None, None]


def test_an_archive_as_source_keeps_its_split(make_params: Make, tiny_archive: Path) -> None:
    source = opened(make_params, tiny_archive, "prepare.labels=file")
    with zipfile.ZipFile(tiny_archive) as archive:
        held = json.loads(archive.read("dataset.json"))["holdout"]
    assert source.holdout == {f"{tiny_archive}:{name}" for name in held}
    assert source.labels == [0] * 12 + [1] * 12


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined, misc]
    """Writes str and bytes alike as Python 2 did, in whose pickles CIFAR-10 is published"""

    dispatch = pickle._Pickler.dispatch.copy()  # type: ignore[attr-defined]

    def save_string(self, value: bytes | str) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)

    dispatch[bytes] = dispatch[str] = save_string


def dumps_as_python2(value: object) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def write_cifar(path: Path, *, code: bytes = b"") -> np.ndarray:
    data = np.random.default_rng(0).integers(0, 256, (2, 4, 3072), np.uint8)
    with tarfile.open(path, "w:gz") as tar:

        def add(name: str, value: object) -> None:
            blob = code or dumps_as_python2(value)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(blob)
            tar.addfile(info, io.BytesIO(blob))

        for number in (2, 1):
            add(f"data_batch_{number}", {"data": data[number - 1].copy(), "labels": [number, 0, 9, 3]})
        add("batches.meta", {"label_names": CIFAR_CLASSES})
        add("test_batch", {"data": data[0], "labels": [0] * 4})
    return data


def test_cifar_gives_the_training_batches_in_order_with_labels(make_params: Make, tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    data = write_cifar(path)
    source = opened(make_params, path, "prepare.labels=file")
    assert source.names[:5] == [*(f"{path}:data_batch_1/0000{n}" for n in range(4)), f"{path}:data_batch_2/00000"]
    assert source.labels == [1, 0, 9, 3, 2, 0, 9, 3]
    assert source.class_names == CIFAR_CLASSES
    red = data[1, 2, :1024].reshape(32, 32)
    assert np.array_equal(source.read(6)[..., 0], red)
    assert opened(make_params, path).labels is None


def test_a_cifar_file_that_asks_to_run_code_is_refused(make_params: Make, tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    write_cifar(path, code=b"cos\nsystem\n(S'true'\ntR.")
    assert error_of(make_params, path) == (
        f"{path}:data_batch_2: not a pickle of plain arrays (it asks for os.system, which is not a numpy array). "
        "Only such files are read, so that none can run code; use the original file from its publisher."
    )


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def mnist_file(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(1, 256, (3, 28, 28), np.uint8)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.array([7, 0, 2], np.uint8))
    return tmp_path / "train-images-idx3-ubyte.gz"


def test_mnist_is_padded_to_32_and_labelled_by_the_file_beside_it(make_params: Make, mnist_file: Path) -> None:
    source = opened(make_params, mnist_file, "prepare.labels=file")
    image = source.read(1)
    assert image.shape == (32, 32)
    assert image[2:30, 2:30].min() > 0
    assert image.sum() == image[2:30, 2:30].sum()
    assert source.labels == [7, 0, 2]
    assert source.class_names == [str(digit) for digit in range(10)]


def error_of(make_params: Make, *arguments: Path | str, earth: Path = Path("none.jpg")) -> str:
    with pytest.raises(ArchiveError) as error:
        opened(make_params, *arguments, earth=earth)
    return str(error.value)


def test_what_is_wrong_with_mnist_files_is_said(make_params: Make, mnist_file: Path) -> None:
    beside = mnist_file.with_name("train-labels-idx1-ubyte.gz")
    write_idx(beside, np.zeros(2, np.uint8))
    message = error_of(make_params, mnist_file, "prepare.labels=file")
    assert message == f"{beside}: 2 labels for 3 images. Use two files of one set."
    beside.unlink()
    message = error_of(make_params, mnist_file, "prepare.labels=file")
    assert message == f"{beside}: labels not found. Put the file next to the images, or set prepare.labels to none."
    write_idx(mnist_file, np.zeros(2, np.uint8))
    message = error_of(make_params, mnist_file)
    assert message == (
        f"{mnist_file}: not a complete IDX file (begins with 00000801, expected 00000803). Download it again."
    )
    mnist_file.write_bytes(b"plain")
    assert "not a complete IDX file (Not a gzipped file" in error_of(make_params, mnist_file)


def test_a_source_that_is_not_there_or_unknown_is_refused(make_params: Make, tmp_path: Path) -> None:
    assert error_of(make_params, tmp_path / "x") == f"{tmp_path}/x: not found. Set prepare.source to {KINDS}."
    (tmp_path / "movie.mp4").touch()
    assert error_of(make_params, tmp_path / "movie.mp4") == (
        f"{tmp_path}/movie.mp4: not a kind of source that is known. Set prepare.source to {KINDS}."
    )


def test_an_empty_folder_and_a_broken_zip_are_refused(make_params: Make, tmp_path: Path) -> None:
    assert error_of(make_params, tmp_path) == f"{tmp_path}/: holds no image files. Set prepare.source to {KINDS}."
    (tmp_path / "a.zip").write_text("no zip")
    message = error_of(make_params, tmp_path / "a.zip")
    assert message == f"{tmp_path}/a.zip: not a zip file (File is not a zip file). Copy or download it again."


def test_an_empty_cifar_file_is_refused(make_params: Make, tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    tarfile.open(path, "w:gz").close()
    message = error_of(make_params, path)
    assert message == f"{path}: holds no data_batch_* files. Use the original cifar-10-python.tar.gz."


def test_half_a_cifar_file_is_refused(make_params: Make, tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    write_cifar(path)
    path.write_bytes(path.read_bytes()[:5000])
    message = error_of(make_params, path)
    assert message.startswith(f"{path}: not a complete tar.gz file (")
    assert message.endswith("). Download it again.")


def test_labels_that_a_source_does_not_have_are_refused(make_params: Make, classes: Path, mnist_file: Path) -> None:
    assert error_of(make_params, classes, "prepare.labels=file") == (
        f"{classes}/: has no dataset.json with labels. Add it, or set prepare.labels to folders or none."
    )
    assert error_of(make_params, classes / "pets" / "cat", "prepare.labels=folders") == (
        f"{classes}/pets/cat/: prepare.labels is folders, but all images are in one folder. Put each class in its "
        "own sub-folder, or set prepare.labels to none."
    )
    assert error_of(make_params, mnist_file, "prepare.labels=folders") == (
        f"{mnist_file}: has no folders. Set prepare.labels to file (its own classes) or none."
    )


@pytest.mark.parametrize(
    ("labels", "kinds"),
    [
        ([["a", 1], ["b", [0.5]]], "int, vector of 1"),
        ([["a", "cat"]], "str"),
        ([["a", True]], "bool"),
        ([["a", [1, 2]], ["b", [1]]], "vector of 1, vector of 2"),
    ],
)
def test_labels_of_mixed_or_unknown_kind_are_refused(
    make_params: Make, classes: Path, labels: object, kinds: str
) -> None:
    (classes / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert error_of(make_params, classes, "prepare.labels=file") == (
        f"{classes}/dataset.json: labels are of kind {kinds}. "
        "Expected a class number (int) for every file, or a vector of one length for every file."
    )


@pytest.mark.parametrize("text", ["not json", "[1, 2]", '{"labels": 3}'])
def test_a_dataset_json_of_another_layout_is_refused(make_params: Make, classes: Path, text: str) -> None:
    (classes / "dataset.json").write_text(text)
    message = error_of(make_params, classes, "prepare.labels=file")
    assert message.startswith(f"{classes}/dataset.json: not in the official layout (")
    assert message.endswith('). Expected {"labels": [[file, label], ...]} or {"labels": null}.')


def at(side: int) -> list[str]:
    """Overrides for a resolution, with layers wide enough for it"""
    return [f"prepare.resolution={side}", f"generator.channel_base={side}", f"discriminator.channel_base={side}"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small earth: half ocean, half land of noise"""
    coarse = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    coarse[..., 2] = 0
    coarse[:, 100:] = (10, 40, 120)
    path = tmp_path_factory.mktemp("earth") / "world.png"
    Image.fromarray(coarse).resize((2700, 1350)).save(path)
    return path


def test_earth_tiles_show_land_and_never_cross_their_band_of_longitude(make_params: Make, world: Path) -> None:
    source = opened(make_params, world.parent, earth=world)
    assert source.groups is not None
    assert {source.read(number).shape for number in range(0, len(source.names), 50)} == {(128, 128, 3)}
    band = 4 * (2700 // 4 * 20 * 32 // (360 * 32))
    for name, group in zip(source.names, source.groups, strict=True):
        x = int(name[len("earth:x") :][:4])
        assert x // band == (x + 127) // band
        assert group == f"longitude {x // band * band * 360 // 2700 - 180}"
        assert x + 64 < 1350  # the other half is ocean


def test_earth_tiles_are_the_same_places_up_to_128_pixels(make_params: Make, world: Path) -> None:
    small, large = (opened(make_params, world.parent, *at(side), earth=world) for side in (16, 128))
    assert small.names == large.names


def test_earth_tiles_have_the_shape_of_the_pictures(make_params: Make, world: Path) -> None:
    square = opened(make_params, world.parent, earth=world)
    wide = opened(make_params, world.parent, *at(40), "prepare.resolution=[24, 40]", earth=world)
    assert wide.names == square.names
    assert np.array_equal(wide.read(7), square.read(7)[25:102])  # the middle 77 of 128 rows
    config = make_params(*at(40), "prepare.resolution=[24, 40]").prepare
    assert check_image(wide.read(7), config).problem is None


def test_what_earth_cannot_give_is_refused(make_params: Make, world: Path, tmp_path: Path) -> None:
    missing = tmp_path / "earth.jpg"
    message = error_of(make_params, missing.parent, earth=missing)
    assert message == f"{missing}: built-in images not found. Run `dvc repro assets`."
    message = error_of(make_params, world.parent, "prepare.labels=folders", earth=world)
    assert message == "earth: the built-in images have no labels. Set prepare.labels to none."
    message = error_of(make_params, world.parent, *at(512), earth=world)
    assert message == "earth: holds no detail for 512 pixels. Set prepare.resolution to 256 or less."
