"""stylegan.metrics.extractors.trial: a TorchScript file is a program, which is first run where it can do no harm."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stylegan.metrics.arrays import MetricError
from stylegan.metrics.extractors import trial
from stylegan.metrics.extractors.model_files import FileExtractor
from tests.unit.test_model_files import Means, write_script

pytestmark = pytest.mark.timeout(300)


class Endless(nn.Module):
    def forward(self, img: Tensor) -> Tensor:
        n = 0
        while n >= 0:
            n = (n + 1) % 7
        return img


class Large(nn.Module):
    def forward(self, img: Tensor) -> Tensor:
        return torch.zeros(300_000_000)


class Writes(nn.Module):
    """And prints, which must not be taken for the answer"""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    def forward(self, img: Tensor) -> Tensor:
        print("{}")
        return img.float().mean(dim=[2, 3]) + torch.from_file(self.path, True, 1)


def test_a_network_of_use_is_tried_in_another_process(tmp_path: Path) -> None:
    extractor = FileExtractor(write_script(Means(), tmp_path / "net.pt"), 8)
    assert (extractor.dtype, extractor.num_features) == (torch.float32, 3)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Endless(), r"takes more than 1 s of processor time or 1,0\d\d,\d\d\d,\d\d\d bytes to try\. Use another file"),
        (Large(), r"takes neither uint8 nor float32 images .*you tried to allocate 1200000000 bytes"),
    ],
)
def test_a_script_without_end_or_without_measure_is_refused(
    module: nn.Module, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "MAX_SEC", 1)
    path = write_script(module, tmp_path / "net.pt")
    with pytest.raises(MetricError, match=f"^{path}: {reason}"):
        FileExtractor(path, 8)


def test_while_it_is_tried_a_script_writes_no_file(tmp_path: Path) -> None:
    path = write_script(Writes(tmp_path / "written"), tmp_path / "net.pt")
    with pytest.raises(MetricError, match=f"^{path}: "):
        FileExtractor(path, 8)
    assert not (tmp_path / "written").exists() or not (tmp_path / "written").stat().st_size


@pytest.mark.parametrize("status", [1, -11])
def test_a_crash_is_an_error_of_one_line(status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_script(Means(), tmp_path / "net.pt")
    monkeypatch.setattr(trial, "execute", lambda path, input_size: (status, b""))
    with pytest.raises(MetricError, match=rf"net.pt: ends the process that tries it \(status {status}\)\. Use another"):
        FileExtractor(path, 8)
