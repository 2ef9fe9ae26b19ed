"""Times the metrics on the same features and images as torchmetrics, pytorch-fid and torch-fidelity, in one run.

    pip install torchmetrics==1.9.0 lightning-utilities pytorch-fid==0.3.0 torch-fidelity==0.4.0 torchvision scipy
    OMP_NUM_THREADS=1 python -m benchmarks.metrics

Prints processor time, in which another program on the machine counts little, and the ratio to ours; above 1 we are
faster. Rounds are interleaved and the fastest counts. What is not installed is left out, and named.
"""

import argparse
import importlib
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from stylegan.metrics import (
    features_frechet_distance,
    frechet_distance,
    inception_score,
    kernel_distance,
    membership,
    precision_recall,
)
from stylegan.metrics.extractors import RandomExtractor
from stylegan.metrics.fid import FeatureMoments

Work = Callable[[], float]
_OPERATORS: list[torch.library.Library] = []


def import_peer(name: str) -> ModuleType | None:
    """Module of a peer, or None if it is not installed

    torchvision built for CUDA cannot register its operators next to a torch for processors; declaring them suffices, as
    no metric calls them.
    """
    if importlib.util.find_spec(name.split(".")[0]) is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if importlib.util.find_spec("torchvision") is not None:
            try:
                importlib.import_module("torchvision")
            except RuntimeError:
                _OPERATORS.append(torch.library.Library("torchvision", "DEF"))
                for operator in ("nms", "qnms"):
                    _OPERATORS[0].define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module(name)


class Identity(nn.Module):
    """Passes features off as images."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def torchmetrics_value(metric: nn.Module, real: Tensor, gen: Tensor) -> float:
    """Value of a metric of torchmetrics between two sets"""
    metric.update(real, real=True)
    metric.update(gen, real=False)
    value = metric.compute()
    return float(value[0] if isinstance(value, tuple) else value)


def torchmetrics_metric(module: str, name: str, **options: object) -> nn.Module | None:
    """A new metric of torchmetrics.image, which warns of its memory; None if it is not installed"""
    found = import_peer(f"torchmetrics.image.{module}")
    if found is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric: nn.Module = getattr(found, name)(**options)
    return metric


@dataclass(frozen=True)
class Case:
    """One metric of one input, ours first."""

    name: str
    work: dict[str, Work]


def cases(num_features: int, num_images: int) -> Iterator[Case]:
    """Every comparison that the installed peers allow"""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(num_features, num_features, generator=generator) / num_features**0.5
    real, gen = ((torch.randn(num_images, num_features, generator=generator) @ mix).relu() for _ in range(2))
    yield _frechet(real, gen)
    yield _few(real, gen)
    yield _kernel(real, gen)
    yield _manifold(real, gen)
    yield _inception(gen[:, :1000])
    yield _images(generator)


def _frechet(real: Tensor, gen: Tensor) -> Case:
    moments = []
    for features in (real, gen):
        stream = FeatureMoments(features.shape[1])
        stream.append(features)
        moments.append([x.numpy() for x in stream.mean_and_cov()])
    # Full rank, as with more images than features, whatever was asked for.
    (mu1, cov1), (mu2, cov2) = ((mean, cov + np.eye(len(cov)) * 1e-3) for mean, cov in moments)
    work: dict[str, Work] = {"ours": lambda: frechet_distance(mu1, cov1, mu2, cov2)}
    if torchmetrics := import_peer("torchmetrics.image.fid"):
        tensors = [torch.from_numpy(x) for x in (mu1, cov1, mu2, cov2)]
        work["torchmetrics"] = lambda: float(torchmetrics._compute_fid(*tensors))
    if fidelity := import_peer("torch_fidelity.metric_fid"):
        stats = [{"mu": mu1, "sigma": cov1}, {"mu": mu2, "sigma": cov2}]
        work["torch-fidelity"] = lambda: next(iter(fidelity.fid_statistics_to_metric(*stats, False).values()))
    if scipy := import_peer("scipy.linalg"):
        means = float(np.square(mu1 - mu2).sum())
        work["scipy.sqrtm"] = lambda: means + float(np.trace(cov1 + cov2 - 2 * scipy.sqrtm(cov1 @ cov2).real))
    if score := import_peer("pytorch_fid.fid_score"):
        work["pytorch-fid"] = lambda: float(score.calculate_frechet_distance(mu1, cov1, mu2, cov2))
    return Case(f"Frechet distance of moments, {len(mu1)} features", work)


def _few(real: Tensor, gen: Tensor) -> Case:
    count = gen.shape[1] // 4
    x, y = real[:count].double(), gen[:count].double()
    work: dict[str, Work] = {"ours": lambda: features_frechet_distance(x, y)}
    metric = torchmetrics_metric("fid", "FrechetInceptionDistance", feature=Identity(x.shape[1]))
    if metric is not None:
        work["torchmetrics"] = lambda: _reset(metric, torchmetrics_value(metric, x, y))
    return Case(f"Frechet distance of {count} images, {x.shape[1]} features", work)


def _kernel(real: Tensor, gen: Tensor) -> Case:
    subsets, size = 20, min(1000, len(real) // 2)
    work: dict[str, Work] = {"ours": lambda: kernel_distance(real, gen, subsets, size)}
    options = {"feature": Identity(real.shape[1]), "subsets": subsets, "subset_size": size}
    metric = torchmetrics_metric("kid", "KernelInceptionDistance", **options)
    if metric is not None:
        work["torchmetrics"] = lambda: _reset(metric, torchmetrics_value(metric, real, gen))
    if fidelity := import_peer("torch_fidelity.metric_kid"):
        given = {"kid_subsets": subsets, "kid_subset_size": size, "verbose": False}
        work["torch-fidelity"] = lambda: next(iter(fidelity.kid_features_to_metric(real, gen, **given).values()))
    return Case(f"KID of {subsets} subsets of {size}; ours in fp64, theirs in the features' fp32", work)


def _manifold(real: Tensor, gen: Tensor) -> Case:
    work: dict[str, Work] = {"ours": lambda: precision_recall(real, gen)[0]}
    work["ours, with density and coverage"] = lambda: membership(real, gen, 3).precision
    if fidelity := import_peer("torch_fidelity.metric_prc"):
        given = {"prc_neighborhood": 3, "verbose": False, "save_cpu_ram": True}
        work["torch-fidelity"] = lambda: next(iter(fidelity.prc_features_to_metric(gen, real, **given).values()))
        x, y = real.double(), gen.double()
        work["torch-fidelity, fp64"] = lambda: next(iter(fidelity.prc_features_to_metric(y, x, **given).values()))
    return Case(f"precision of {len(real)} and {len(gen)} images", work)


def _inception(scores: Tensor) -> Case:
    work: dict[str, Work] = {"ours": lambda: inception_score(scores)[0]}
    metric = torchmetrics_metric("inception", "InceptionScore", feature=Identity(scores.shape[1]))
    if metric is not None:

        def torchmetrics() -> float:
            metric.update(scores)
            return _reset(metric, float(metric.compute()[0]))

        work["torchmetrics"] = torchmetrics
    if fidelity := import_peer("torch_fidelity.metric_isc"):
        work["torch-fidelity"] = lambda: next(iter(fidelity.isc_features_to_metric(scores).values()))
    return Case(f"Inception score of {len(scores)} images, {scores.shape[1]} classes", work)


def _images(generator: torch.Generator) -> Case:
    batches = [torch.randint(256, (32, 3, 64, 64), dtype=torch.uint8, generator=generator) for _ in range(16)]
    real, gen = batches[:8], batches[8:]
    extractor = RandomExtractor(64)
    work: dict[str, Work] = {}

    def ours() -> float:
        return features_frechet_distance(*(torch.cat([extractor(img) for img in side]) for side in (real, gen)))

    work["ours"] = ours
    metric = torchmetrics_metric("fid", "FrechetInceptionDistance", feature=extractor)
    if metric is not None:

        def torchmetrics() -> float:
            for side, is_real in ((real, True), (gen, False)):
                for img in side:
                    metric.update(img, real=is_real)
            return _reset(metric, float(metric.compute()))

        work["torchmetrics"] = torchmetrics
    return Case("Frechet distance of 256 and 256 images through one random extractor", work)


def _reset(metric: nn.Module, value: float) -> float:
    metric.reset()
    return value


def measure(case: Case, rounds: int) -> Iterator[str]:
    """Lines of a table: seconds of the fastest round, ratio to ours, value"""
    seconds = dict.fromkeys(case.work, float("inf"))
    values = {}
    for _ in range(rounds):
        for name, work in case.work.items():
            start = time.process_time()
            values[name] = work()
            seconds[name] = min(seconds[name], time.process_time() - start)
    yield case.name
    for name, taken in seconds.items():
        yield f"  {name:32} {taken:9.3f} s   {taken / seconds['ours']:7.2f} x   {values[name]:.9g}"


def main() -> None:
    """Print every comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    absent = [name for name in ("torchmetrics", "torch_fidelity", "pytorch_fid", "scipy") if import_peer(name) is None]
    print(f"{torch.get_num_threads()} threads; not installed: {', '.join(absent) or 'none'}", flush=True)
    for case in cases(given.features, given.images):
        for line in measure(case, given.rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
