"""The metrics against torchmetrics, torch-fidelity and prdc on the same features, where those are installed."""

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.metrics import Identity, import_peer, torchmetrics_metric, torchmetrics_value
from stylegan.metrics import frechet_distance, inception_score, kernel_distance, membership, precision_recall
from stylegan.metrics.fid import FeatureMoments

AGREEMENT = 1e-6  # relative; the peers take eigenvalues of a product that is not symmetric


def sets() -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((24, 24))
    return torch.from_numpy(rng.standard_normal((200, 24)) @ mix), torch.from_numpy(
        rng.standard_normal((150, 24)) + 0.5
    )


def metric(module: str, name: str, **options: object) -> torch.nn.Module:
    found = torchmetrics_metric(module, name, **options)
    if found is None:
        pytest.skip("torchmetrics is not installed: pip install torchmetrics==1.9.0")
    return found


def torch_fidelity(module: str) -> object:
    found = import_peer(f"torch_fidelity.{module}")
    if found is None:
        pytest.skip("torch-fidelity is not installed: pip install torch-fidelity==0.4.0 torchvision")
    return found


def test_frechet_distance_is_that_of_torchmetrics() -> None:
    real, gen = sets()
    expected = torchmetrics_value(metric("fid", "FrechetInceptionDistance", feature=Identity(24)), real, gen)
    moments = []
    for features in (real, gen):
        stream = FeatureMoments(24)
        stream.append(features)
        mean, cov = stream.mean_and_cov()
        moments += [mean, cov * len(features) / (len(features) - 1)]  # torchmetrics divides by N - 1
    assert frechet_distance(*moments) == pytest.approx(expected, rel=AGREEMENT)


def test_kernel_distance_is_that_of_torchmetrics() -> None:
    real, gen = sets()
    options = {"feature": Identity(24), "subsets": 1, "subset_size": 150}
    expected = torchmetrics_value(metric("kid", "KernelInceptionDistance", **options), real[:150], gen)
    assert kernel_distance(real[:150], gen, num_subsets=1, subset_size=150) == pytest.approx(expected, rel=AGREEMENT)


def test_inception_score_is_that_of_torchmetrics() -> None:
    scores, _ = sets()
    peer = metric("inception", "InceptionScore", feature=Identity(24), splits=10)
    peer.update(scores)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mean, deviation = peer.compute()
        torch.manual_seed(0)
        order = torch.randperm(len(scores))
    expected = float(mean), float(deviation) * (9 / 10) ** 0.5  # it divides the variance of 10 splits by 9
    assert inception_score(scores[order]) == pytest.approx(expected, rel=AGREEMENT)


def test_inception_score_is_that_of_torch_fidelity() -> None:
    scores, _ = sets()
    expected = torch_fidelity("metric_isc").isc_features_to_metric(scores, 10, False)  # type: ignore[attr-defined]
    assert inception_score(scores) == pytest.approx(tuple(expected.values()), rel=AGREEMENT)


def test_precision_and_recall_are_those_of_torch_fidelity() -> None:
    real, gen = sets()
    prc = torch_fidelity("metric_prc").prc_features_to_metric  # type: ignore[attr-defined]
    found = prc(gen, real, prc_neighborhood=3, prc_batch_size=64, save_cpu_ram=True, verbose=False)
    assert precision_recall(real, gen) == pytest.approx((found["precision"], found["recall"]), rel=AGREEMENT)


@pytest.mark.parametrize("k", [3, 5])
def test_precision_recall_density_and_coverage_are_those_of_prdc(k: int, capsys: pytest.CaptureFixture[str]) -> None:
    found = import_peer("prdc")
    if found is None:
        pytest.skip("prdc is not installed: pip install prdc==0.2 scikit-learn")
    real, gen = sets()
    expected = found.compute_prdc(real.numpy(), gen.numpy(), nearest_k=k)
    ours = membership(real, gen, k)
    assert {name: getattr(ours, name) for name in expected} == pytest.approx(expected, rel=AGREEMENT)
    assert 0 < ours.coverage < 1
    capsys.readouterr()  # it prints
