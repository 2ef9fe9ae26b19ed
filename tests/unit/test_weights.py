"""Public weight files: where they are looked for, how they are checked, and how a person fetches them."""

import hashlib
import http.server
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipelines.assets import AssetError
from pipelines.weights_standard import fetch_all, fetch_file
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.extractors import load_extractor
from stylegan.metrics.extractors.lpips import ScriptedLpips, load_lpips
from stylegan.metrics.extractors.scripts import Script
from stylegan.metrics.extractors.standard import (
    InceptionExtractor,
    ScriptedInception,
    VGG16Extractor,
    inception_of_state,
)
from stylegan.metrics.extractors.weights import (
    INCEPTION_SCRIPT,
    INCEPTION_STATE,
    VGG16_SCRIPT,
    WeightFile,
    find_weights,
)

CONTENT = b"weights"
FILE = WeightFile(("net-a.pth", "net-b.pth"), hashlib.sha256(CONTENT).hexdigest(), "http://unused", "none")


@pytest.fixture(name="places")
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The three places, empty"""
    monkeypatch.setenv("STYLEGAN_WEIGHTS", str(tmp_path / "named"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folders = {
        "named": tmp_path / "named",
        "weights": tmp_path / "weights",
        "cache": tmp_path / "torch/hub/checkpoints",
    }
    for folder in folders.values():
        folder.mkdir(parents=True)
    return folders


def test_the_place_that_a_person_names_comes_first_and_the_cache_last(places: dict[str, Path], tmp_path: Path) -> None:
    for place in ("cache", "weights", "named"):
        (places[place] / "net-b.pth").write_bytes(CONTENT)
        assert find_weights("a net", [FILE], tmp_path / "assets", remedy="x") == (places[place] / "net-b.pth", FILE)


def test_weights_that_are_nowhere_are_named_with_hash_places_and_remedy(
    places: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_extractor("inception", 299, tmp_path / "assets")
    looked = ", ".join(str(folder) for folder in places.values())
    assert str(caught.value) == (
        "no weights of FID's Inception: pt_inception-2015-12-05-6726825d.pth (sha256 "
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2) or inception-2015-12-05.pt (sha256 "
        f"f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4) is in none of {looked}. Run "
        "`make weights-standard`, which needs internet, or put the file there, or name its folder in "
        "STYLEGAN_WEIGHTS, or set evaluate.extractor to efficientnet_lite0, whose numbers carry its name."
    )
    with pytest.raises(FileNotFoundError, match=r"^no weights of VGG16: vgg16\.pt \(sha256 b437eb09"):
        load_extractor("vgg16", 224, tmp_path / "assets")
    with pytest.raises(FileNotFoundError, match=r"or set evaluate\.ppl_network to lpips_vgg16\.$"):
        load_lpips("vgg16", tmp_path / "assets")


@pytest.mark.parametrize(
    ("name", "file"), [("inception", INCEPTION_STATE), ("inception", INCEPTION_SCRIPT), ("vgg16", VGG16_SCRIPT)]
)
def test_a_file_of_that_name_with_other_content_is_refused_unopened(
    places: dict[str, Path], tmp_path: Path, name: str, file: WeightFile
) -> None:
    path = places["weights"] / file.names[0]
    path.write_bytes(b"half of it")
    with pytest.raises(MetricError) as caught:
        load_extractor(name, 8, tmp_path / "assets")
    assert str(caught.value) == (
        f"{path}: sha256 is {hashlib.sha256(b'half of it').hexdigest()}, expected {file.sha256}. This is not the "
        "public file of that name, or only part of it: delete it and run `make weights-standard`."
    )


@pytest.mark.parametrize("content", [b"text", pickle.dumps(print), None])
def test_a_state_dict_of_something_else_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "state.pth"
    if content is None:
        torch.save({"other": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(MetricError) as caught:
        inception_of_state(path)
    assert str(caught.value).startswith(f"{path}: these are not the weights of FID's Inception (")


# Stand-ins with the interface of the public TorchScript files.


class FakeInception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Parameter(torch.rand(2048, 1008, generator=torch.Generator().manual_seed(0)))

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        assert img.dtype == torch.uint8
        features = img.flatten(1).float().mean(dim=1, keepdim=True).expand(-1, 2048)
        return features if return_features else (features @ self.output).softmax(dim=1)


class FakeVGG16(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(
        self, img: Tensor, resize_images: bool = True, return_features: bool = False, return_lpips: bool = False
    ) -> Tensor:
        if return_lpips:
            assert not resize_images
            return img.flatten(1) * self.scale
        assert return_features
        return img.flatten(1).float().mean(dim=1, keepdim=True).expand(-1, 4096)


def write_script(module: nn.Module, path: Path) -> Path:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), path)
    return path


def images(count: int, size: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=generator)


def test_the_script_of_inception_makes_features_and_probabilities(tmp_path: Path) -> None:
    path = write_script(FakeInception(), tmp_path / "inception.pt")
    extractor = InceptionExtractor(ScriptedInception(path), "0" * 64)
    img = images(3)
    features = extractor(img)
    torch.testing.assert_close(features[:, 5], img.float().mean(dim=(1, 2, 3)))
    expected = (features @ FakeInception().output).softmax(dim=1).detach()
    torch.testing.assert_close(extractor.scores(features).softmax(dim=1), expected, rtol=1e-4, atol=1e-7)
    copied = pickle.loads(pickle.dumps(extractor))  # as Ray sends it to workers
    assert torch.equal(copied(img), features)


def test_a_script_without_the_classifier_is_refused(tmp_path: Path) -> None:
    path = write_script(FakeVGG16(), tmp_path / "inception.pt")
    with pytest.raises(MetricError) as caught:
        ScriptedInception(path)
    assert str(caught.value) == (
        f"{path}: 0 matrices of 1008 classes by 2048 features, expected one; this is not the public Inception."
    )


def test_the_script_of_vgg16_makes_features_and_lpips(tmp_path: Path) -> None:
    script = Script(write_script(FakeVGG16(), tmp_path / "vgg16.pt"))
    img = images(2, size=16)
    extractor = VGG16Extractor(script, "0" * 64)
    assert extractor(img).shape == (2, 4096)
    a = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    lpips = ScriptedLpips(script)
    torch.testing.assert_close(lpips(a, a + 0.5), torch.full((2,), 3 * 256 * (0.5 * 127.5) ** 2), rtol=1e-4, atol=0)
    assert lpips.name == "vgg16"


# Fetching, from a server on this machine.


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(name="url")
def _url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "net-a.pth").write_bytes(CONTENT)
    handler = partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def served(url: str, sha256: str = FILE.sha256) -> WeightFile:
    return WeightFile(FILE.names, sha256, url, "a licence")


def test_a_file_is_fetched_checked_and_not_fetched_twice(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch_all([served(f"{url}/net-a.pth")], tmp_path / "weights")
    assert (tmp_path / "weights" / "net-a.pth").read_bytes() == CONTENT
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"net-a.pth  sha256 {FILE.sha256[:12]}  a licence")
    fetch_all([served("http://127.0.0.1:1/never-asked")], tmp_path / "weights")
    assert capsys.readouterr().out == f"{tmp_path}/weights/net-a.pth already exists\n"


def test_another_file_than_the_public_one_is_not_kept(url: str, tmp_path: Path) -> None:
    with pytest.raises(AssetError) as caught:
        fetch_file(served(f"{url}/net-a.pth", "0" * 64), tmp_path / "weights")
    assert str(caught.value) == (
        f"{url}/net-a.pth: sha256 is {FILE.sha256}, expected {'0' * 64}. This is not the public file; nothing was "
        "kept. Try another network, and distrust this one if it stays so."
    )
    assert list((tmp_path / "weights").iterdir()) == []


@pytest.mark.parametrize("page", ["/absent.pth", None])
def test_what_cannot_be_fetched_is_reported_with_the_remedy(url: str, tmp_path: Path, page: str | None) -> None:
    address = url + page if page else "http://127.0.0.1:1/net-a.pth"
    with pytest.raises(AssetError) as caught:
        fetch_file(served(address), tmp_path / "weights")
    assert str(caught.value).startswith(f"{address}: cannot be fetched (")
    assert str(caught.value).endswith("Fetch it by other means and put it into weights/, or set HTTPS_PROXY.")
    assert list((tmp_path / "weights").iterdir()) == []
