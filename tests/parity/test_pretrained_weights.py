"""The public weights do in our graphs what they were trained for. Skipped where the `assets` stage never ran."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stylegan.metrics.extractors import EFFICIENTNET_FILE, EfficientNetExtractor
from stylegan.metrics.extractors.lpips import LPIPS_FILE, load_lpips


def asset(repository: Path, name: str) -> Path:
    path = repository / "assets" / name
    if not path.exists():
        pytest.skip(f"{path} is not there; `python -m pipelines.assets` fetches it")
    return path


@pytest.mark.parametrize(
    ("photo", "imagenet_class"), [("china.jpg", 698), ("flower.jpg", 985)], ids=["palace", "daisy"]
)
def test_efficientnet_recognises_photographs(repository: Path, photo: str, imagenet_class: int) -> None:
    path = asset(repository, EFFICIENTNET_FILE)
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn brings two photographs")
    pixels = torch.from_numpy(datasets.load_sample_image(photo).copy()).permute(2, 0, 1)  # [3, 427, 640]
    extractor = EfficientNetExtractor(path, 224)  # the size it was trained at
    logits = extractor.network.classify(extractor(pixels[None, :, :, 106:533]))
    assert int(logits.argmax()) == imagenet_class


def test_lpips_weights_are_those_of_vgg16_and_the_published_heads(repository: Path) -> None:
    weights = load_file(asset(repository, LPIPS_FILE))
    # First kernel row of torchvision's vgg16; heads are constrained to be non-negative (Zhang et al. 2018).
    first_row = weights["conv0.weight"][0, 0, 0]
    torch.testing.assert_close(first_row, torch.tensor([-0.5537, 0.1427, 0.5290]), rtol=0, atol=5e-5)
    assert all(float(weights[f"lin{i}.weight"].min()) >= 0 for i in range(5))


def test_lpips_grows_with_noise_and_sees_more_in_noise_than_in_a_shade(repository: Path) -> None:
    asset(repository, LPIPS_FILE)
    lpips = load_lpips("lpips_vgg16", repository / "assets")
    generator = torch.Generator().manual_seed(0)
    img = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4, generator=generator) - 0.5, (32, 32), mode="bicubic")
    noise = torch.randn(img.shape, generator=generator)
    little, much, shade = (float(lpips(img, other)) for other in (img + 0.05 * noise, img + 0.2 * noise, img + 0.2))
    assert 0 < little < much
    assert shade < much  # of the same size in pixels, but people hardly mind it
