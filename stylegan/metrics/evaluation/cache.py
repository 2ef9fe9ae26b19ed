"""Statistics of real images on disk, so that each set is looked at once by each extractor; and their baseline."""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stylegan.data.dataset import Split
from stylegan.files import check_regular, replacing, write_json
from stylegan.metrics.evaluation.comparison import Measured, Statistics
from stylegan.metrics.evaluation.metric import Metric
from stylegan.metrics.extractors import Extractor
from stylegan.metrics.fid import Gaussian
from stylegan.metrics.memorization import SIDE

METRICS = TypeAdapter(tuple[Metric, ...])
CODE = "code"  # key of the metadata of a file


@dataclass(frozen=True)
class StatisticsCache:
    """Files named after archive, split, extractor, its weights and input size, and resize filter.

    What other code has measured counts as not there.
    """

    folder: Path
    digest: str  # sha256 of the archive
    extractor: Extractor
    code: str  # digest of the code that measures

    def path(self, split: Split, *, features: bool) -> Path:
        """Where the features, or only their moments, of a split are kept"""
        return self.folder / f"{self._prefix(split)}-{'features' if features else 'moments'}.safetensors"

    def floor_path(self, split: Split, key: str) -> Path:
        """Where the baseline that a key stands for is kept"""
        digest = hashlib.sha256(f"{key} {self.code}".encode()).hexdigest()
        return self.folder / f"{self._prefix(split)}-floor-{digest[:12]}.json"

    def _prefix(self, split: Split) -> str:
        net = self.extractor
        return f"{self.digest[:12]}-{split}-{net.name}-{net.sha256[:12]}-{net.input_size}px-{net.resize_filter}"

    def load_floor(self, split: Split, key: str) -> Measured | None:
        """The baseline that was saved; None if it was not, or is damaged"""
        path = self.floor_path(split, key)
        if not path.exists():
            return None
        try:
            check_regular(path)
            return Measured([*METRICS.validate_json(path.read_bytes(), strict=True)])
        except (ValueError, OSError) as error:
            problem = " ".join(str(error).split())[:200]
            warnings.warn(f"{path}: {problem}. The baseline is measured again, and it is written anew.", stacklevel=2)
            return None

    def save_floor(self, split: Split, key: str, floor: Measured) -> None:
        """Keep a baseline for the next time, if all of it was measured."""
        if floor.metrics and not floor.failures:
            write_json(self.floor_path(split, key), [metric.model_dump(mode="json") for metric in floor.metrics])

    def load(self, split: Split, *, features: bool, thumbnails: bool) -> Statistics | None:
        """What was saved; None if it was not, or by other code, is damaged, or lacks what is asked for"""
        kinds = [True] if features else [False, True]
        path = next((path for kind in kinds if (path := self.path(split, features=kind)).exists()), None)
        if path is None:
            return None
        unwanted = {name for name, wanted in (("features", features), ("thumbnails", thumbnails)) if not wanted}
        try:
            check_regular(path)
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get(CODE) != self.code:
                    return None
                found = {name: file.get_tensor(name) for name in file.keys() if name not in unwanted}  # noqa: SIM118
            _check(found, self.extractor.num_features, features=features)
        except (SafetensorError, OSError, ValueError) as error:
            warnings.warn(f"{path}: {error}. Real images are looked at again, and it is written anew.", stacklevel=2)
            return None
        if thumbnails and "thumbnails" not in found:  # saved when nobody looked for copies
            return None
        gaussian = Gaussian(found["mean"], found.get("cov"), found.get("factor"))
        return Statistics(gaussian, found.get("features"), found.get("thumbnails"))

    def save(self, split: Split, statistics: Statistics) -> None:
        """Keep statistics for the next time."""
        gaussian = statistics.gaussian
        tensors = {"mean": gaussian.mean, "cov": gaussian.cov, "factor": gaussian.factor}
        tensors |= {"features": statistics.features, "thumbnails": statistics.thumbnails}
        with replacing(self.path(split, features=statistics.features is not None)) as temporary:
            kept = {name: tensor.cpu().contiguous() for name, tensor in tensors.items() if tensor is not None}
            save_file(kept, temporary, {CODE: self.code})


def _check(found: Mapping[str, Tensor], num_features: int, *, features: bool) -> None:
    """Raises ValueError that names the first tensor that is missing, has another shape, or is not finite."""
    F, any_number = num_features, -1
    shapes = {"mean": (F,), "cov": (F, F), "factor": (F, any_number), "features": (any_number, F)}
    shapes |= {"thumbnails": (any_number, any_number, SIDE, SIDE)}
    optional = [name for name in ("cov", "factor", "thumbnails") if name in found]
    has_spread = bool({"cov", "factor"} & found.keys())
    for name in ("mean", *optional, *(() if has_spread else ("cov",)), *(("features",) if features else ())):
        tensor = found.get(name)
        fits = (
            tensor is not None
            and len(tensor.shape) == len(shapes[name])
            and all(want in (any_number, got) for want, got in zip(shapes[name], tensor.shape, strict=True))
        )
        if tensor is None or not fits or not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} is missing, not finite, or of another shape than that of {F} features")
