"""Extractors of the user's own: a TorchScript (.pt) or ONNX (.onnx) file that makes features of images.

The file takes one batch [N, 3, H, W] of RGB with values 0 to 255, of any N, and returns features [N, F]. Files that
take uint8 get uint8; files that take float32 get the same values as float32, and scale them themselves. H = W is
evaluate.extractor_input_size. A TorchScript file is asked with uint8 first; ONNX files state what they take.
N images, H W image, F features.
"""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stylegan.files import sha256_of
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.extractors import trial
from stylegan.metrics.extractors.pixels import RESIZE_FILTER, resize, to_rgb
from stylegan.metrics.extractors.scripts import Script, device_of

SUFFIXES = (".pt", ".onnx")
MAX_FEATURES = 2**14  # whose covariance has two gigabytes
EXTRA = "stylegan2-ada-workflow[export]"
DTYPES = {"uint8": torch.uint8, "float32": torch.float32}
ONNX_TYPES = {"tensor(uint8)": torch.uint8, "tensor(float)": torch.float32}


class FileExtractor(nn.Module):
    """Features as a file makes them; named after the file and the beginning of its sha256.

    Raises FileNotFoundError if it is not there, MetricError when it does not keep the protocol.
    """

    def __init__(self, path: Path, input_size: int) -> None:
        super().__init__()
        if not path.is_file():
            raise FileNotFoundError(f"evaluate.extractor is {path}, but this file does not exist. Copy it there.")
        self.sha256 = sha256_of(path)
        self.name = f"{re.sub('[^A-Za-z0-9]+', '_', path.stem)}_{self.sha256[:8]}"
        self.input_size = input_size
        self.resize_filter = RESIZE_FILTER
        found = trial.run(path, input_size)
        self.dtype, self.num_features = DTYPES[found.dtype], found.num_features
        self.network = load_network(path)

    @torch.no_grad()
    def forward(self, img: Tensor) -> Tensor:
        rgb = resize(to_rgb(img.to(device_of(self.network))), self.input_size)
        return features_of(self.network, rgb, self.dtype)


def examine(path: Path, input_size: int) -> trial.Trial:
    """Load a file and call it with two images. Raises MetricError for one that does not keep the protocol."""
    network = load_network(path)
    dtype = network.dtype if isinstance(network, OnnxNetwork) else _accepted(network, path, input_size)
    img = torch.zeros(2, 3, input_size, input_size)
    try:
        with torch.no_grad():
            features = features_of(network, img, dtype)
    except Exception as error:  # whatever the file's runtime raises
        raise MetricError(
            f"{path}: fails on images {list(img.shape)} ({_last_line(error)}). It must take any number of images "
            "of evaluate.extractor_input_size."
        ) from None
    if features.ndim != 2 or len(features) != 2 or not 0 < features.shape[1] <= MAX_FEATURES:
        raise MetricError(
            f"{path}: makes {list(features.shape)} of two images; expected features [2, F], F at most {MAX_FEATURES:,}."
        )
    return trial.Trial(str(dtype).removeprefix("torch."), features.shape[1])


def load_network(path: Path) -> "OnnxNetwork | Script":
    """The network in a file. Raises MetricError for another file."""
    return OnnxNetwork(path) if path.suffix == ".onnx" else Script(path)


def features_of(network: nn.Module, rgb: Tensor, dtype: torch.dtype) -> Tensor:
    """float [N, 3, H, W] in [0, 255], given to the network in the type that it takes  ->  float [N, F]"""
    if dtype == torch.uint8:
        rgb = rgb.round().clamp(0, 255).to(torch.uint8)
    features: Tensor = network(rgb)
    return features.float()


def _accepted(network: nn.Module, path: Path, input_size: int) -> torch.dtype:
    """uint8 where the TorchScript takes it, else float32"""
    reasons = []
    for dtype in (torch.uint8, torch.float32):
        try:
            with torch.no_grad():
                network(torch.zeros(1, 3, input_size, input_size, dtype=dtype))
        except RuntimeError as error:
            reasons.append(_last_line(error))
        else:
            return dtype
    raise MetricError(
        f"{path}: takes neither uint8 nor float32 images [1, 3, {input_size}, {input_size}] "
        f"({reasons[-1]}). Change the file, or evaluate.extractor_input_size."
    )


class OnnxNetwork(nn.Module):
    """An ONNX file on the CPU, that can be copied to other processes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.data = path.read_bytes()
        try:
            self.session = _session(self.data)
        except ImportError:
            raise MetricError(f"{path}: reading ONNX needs onnxruntime. Run `pip install '{EXTRA}'`.") from None
        except Exception as error:  # whatever the runtime raises
            raise MetricError(f"{path}: onnxruntime cannot open this file ({_last_line(error)}).") from None
        kind = self.session.get_inputs()[0].type
        if kind not in ONNX_TYPES:
            raise MetricError(f"{path}: takes {kind}; expected {' or '.join(ONNX_TYPES)}.")
        self.dtype = ONNX_TYPES[kind]

    def forward(self, img: Tensor) -> Tensor:
        features = self.session.run(None, {self.session.get_inputs()[0].name: img.cpu().numpy()})[0]
        return torch.from_numpy(features)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "session": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, session=_session(state["data"]))


def _session(data: bytes) -> Any:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = torch.get_num_threads()
    make: Callable[..., Any] = runtime.InferenceSession
    return make(data, options, providers=["CPUExecutionProvider"])


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
