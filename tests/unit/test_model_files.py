"""Extractors of the user's own: TorchScript and ONNX files that keep the protocol, and what is said of others."""

import pickle
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stylegan.files import sha256_of
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.extractors import load_extractor, trial
from stylegan.metrics.extractors.model_files import FileExtractor, examine


@pytest.fixture(autouse=True)
def tried_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds to start another one, whose limits have tests of their own."""
    monkeypatch.setattr(trial, "run", examine)


class Means(nn.Module):
    """Means of channels; floats only, as a network that begins with a convolution"""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.conv.weight.data = torch.eye(3)[:, :, None, None]
        self.conv.bias.data.zero_()

    def forward(self, img: Tensor) -> Tensor:
        return self.conv(img).mean(dim=(2, 3))


class ByteMeans(Means):
    """The same of uint8 only"""

    def forward(self, img: Tensor) -> Tensor:
        if img.dtype != torch.uint8:
            raise ValueError("uint8 only")
        return self.conv(img.float()).mean(dim=(2, 3))


class Flat(nn.Module):
    """As many features as asked for, up to all pixels"""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, img: Tensor) -> Tensor:
        return img.float().flatten(1)[:, : self.width]


class Maps(nn.Module):
    def forward(self, img: Tensor) -> Tensor:
        return img.float()


def write_script(module: nn.Module, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), path)
    return path


def write_onnx(path: Path, dtype: torch.dtype) -> Path:
    """Means of channels of any number of images"""
    onnx = pytest.importorskip("onnx")
    path.parent.mkdir(exist_ok=True)
    types = {
        torch.uint8: onnx.TensorProto.UINT8,
        torch.float32: onnx.TensorProto.FLOAT,
        torch.int64: onnx.TensorProto.INT64,
    }
    nodes = [
        onnx.helper.make_node("Cast", ["img"], ["float"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("ReduceMean", ["float", "axes"], ["features"], keepdims=0),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "means",
        [onnx.helper.make_tensor_value_info("img", types[dtype], ["n", 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["n", 3])],
        [onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [2, 3])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def images(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)


def check(extractor: FileExtractor, path: Path, stem: str) -> None:
    img = images()
    assert extractor.name == f"{stem}_{sha256_of(path)[:8]}"
    assert (extractor.sha256, extractor.input_size, extractor.num_features) == (sha256_of(path), 8, 3)
    torch.testing.assert_close(extractor(img), img.float().mean(dim=(2, 3)))
    copied = pickle.loads(pickle.dumps(extractor))  # as Ray sends it to workers
    assert torch.equal(copied(img), extractor(img))


@pytest.mark.parametrize(("module", "dtype"), [(Means, torch.float32), (ByteMeans, torch.uint8)])
def test_a_script_gets_the_type_that_it_takes(module: type[Means], dtype: torch.dtype, tmp_path: Path) -> None:
    path = write_script(module(), tmp_path / "weights" / "my net-2.pt")
    extractor = load_extractor("weights/my net-2.pt", 8, tmp_path / "assets")
    assert isinstance(extractor, FileExtractor)
    assert extractor.dtype == dtype
    check(extractor, path, "my_net_2")


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_an_onnx_file_gets_the_type_that_it_states(dtype: torch.dtype, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_onnx(tmp_path / "weights" / "net.onnx", dtype)
    extractor = load_extractor("weights/net.onnx", 8, tmp_path / "assets")
    assert isinstance(extractor, FileExtractor)
    assert extractor.dtype == dtype
    check(extractor, path, "net")


def test_an_onnx_file_that_takes_neither_bytes_nor_floats_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_onnx(tmp_path / "net.onnx", torch.int64)
    with pytest.raises(MetricError) as caught:
        FileExtractor(path, 8)
    assert str(caught.value) == f"{path}: takes tensor(int64); expected tensor(uint8) or tensor(float)."


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_extractor("weights/net.pt", 8, tmp_path / "assets")
    path = tmp_path / "weights" / "net.pt"
    assert str(caught.value) == f"evaluate.extractor is {path}, but this file does not exist. Copy it there."


@pytest.mark.parametrize("name", ["net.pt", "net.onnx"])
def test_a_file_that_is_no_network_is_refused(name: str, tmp_path: Path) -> None:
    if name.endswith("onnx"):
        pytest.importorskip("onnxruntime")
    (tmp_path / name).write_bytes(b"text")
    with pytest.raises(MetricError) as caught:
        FileExtractor(tmp_path / name, 8)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "cannot open this file (" in str(caught.value)


def test_a_file_that_makes_no_features_is_refused(tmp_path: Path) -> None:
    path = write_script(Maps(), tmp_path / "maps.pt")
    with pytest.raises(MetricError) as caught:
        FileExtractor(path, 8)
    expected = "expected features [2, F], F at most 16,384."
    assert str(caught.value) == f"{path}: makes [2, 3, 8, 8] of two images; {expected}"
    for width, side in ((0, 0), (17328, 76)):
        path = write_script(Flat(width), tmp_path / "flat.pt")
        with pytest.raises(MetricError) as caught:
            FileExtractor(path, side or 8)
        assert str(caught.value) == f"{path}: makes [2, {width}] of two images; {expected}"


def test_a_file_that_takes_other_images_is_refused(tmp_path: Path) -> None:
    path = write_script(nn.Conv2d(4, 1, 1), tmp_path / "rgba.pt")
    with pytest.raises(MetricError) as caught:
        FileExtractor(path, 8)
    assert str(caught.value).startswith(f"{path}: takes neither uint8 nor float32 images [1, 3, 8, 8] (")
    assert str(caught.value).endswith("Change the file, or evaluate.extractor_input_size.")
