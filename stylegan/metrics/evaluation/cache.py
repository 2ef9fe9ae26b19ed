"""Statistics of real images on disk, so that each set is looked at once by each extractor."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from stylegan.data.dataset import Split
from stylegan.files import replacing
from stylegan.metrics.evaluation.comparison import Statistics
from stylegan.metrics.extractors import Extractor
from stylegan.metrics.fid import Gaussian


@dataclass(frozen=True)
class StatisticsCache:
    """Files named after archive, split, extractor, its weights and input size, and resize filter."""

    folder: Path
    digest: str  # sha256 of the archive
    extractor: Extractor

    def path(self, split: Split, *, features: bool) -> Path:
        """Where the features, or only their moments, of a split are kept"""
        net = self.extractor
        network = f"{net.name}-{net.sha256[:12]}-{net.input_size}px-{net.resize_filter}"
        kind = "features" if features else "moments"
        return self.folder / f"{self.digest[:12]}-{split}-{network}-{kind}.safetensors"

    def load(self, split: Split, *, features: bool, thumbnails: bool) -> Statistics | None:
        """What was saved; None where it was not, or where what is asked for is not in it"""
        kinds = [True] if features else [False, True]
        path = next((path for kind in kinds if (path := self.path(split, features=kind)).exists()), None)
        if path is None:
            return None
        unwanted = {name for name, wanted in (("features", features), ("thumbnails", thumbnails)) if not wanted}
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys() if name not in unwanted}  # noqa: SIM118
        if thumbnails and "thumbnails" not in found:
            return None
        gaussian = Gaussian(found["mean"], found.get("cov"), found.get("factor"))
        return Statistics(gaussian, found.get("features"), found.get("thumbnails"))

    def save(self, split: Split, statistics: Statistics) -> None:
        """Keep statistics for the next time."""
        gaussian = statistics.gaussian
        tensors = {"mean": gaussian.mean, "cov": gaussian.cov, "factor": gaussian.factor}
        tensors |= {"features": statistics.features, "thumbnails": statistics.thumbnails}
        with replacing(self.path(split, features=statistics.features is not None)) as temporary:
            save_file({name: t.cpu().contiguous() for name, t in tensors.items() if t is not None}, temporary)
