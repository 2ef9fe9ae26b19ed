"""FID's Inception beside torch-fidelity's, with the same random weights, where that is installed."""

from pathlib import Path

import pytest
import torch

from stylegan.metrics.extractors.standard import inception_of_state
from tests.inception_table import random_inception

peer = pytest.importorskip(
    "torch_fidelity.feature_extractor_inceptionv3",
    reason="torch-fidelity is not installed; it needs torchvision, which the project does without",
)


@pytest.mark.parametrize("size", [64, 299, 512])
def test_features_and_probabilities_are_those_of_torch_fidelity(tmp_path: Path, size: int) -> None:
    path = tmp_path / "state.pth"
    torch.save(random_inception(), path)
    theirs = peer.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
    )
    ours = inception_of_state(path)
    generator = torch.Generator().manual_seed(size)
    img = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        features, logits = theirs(img)
        mine = ours(img.float())
    # Two orders of fp32 sums over 94 layers differ by 4e-7; another padding, pooling or resize by more than 1e-3.
    torch.testing.assert_close(mine, features, rtol=0, atol=1e-5 * float(features.abs().max()))
    torch.testing.assert_close(ours.scores(mine).softmax(dim=1), logits.softmax(dim=1), rtol=1e-4, atol=1e-7)
