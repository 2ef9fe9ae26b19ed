"""`stylegan card`: a folder that says what the generator is, and that holds nothing of another one."""

from pathlib import Path

import pytest
import torch
import yaml

from pipelines.artifacts import metrics_json
from pipelines.card import CardError, main, write_folder
from pipelines.params import Params
from stylegan.checkpoint import load_generator, save_generator
from stylegan.files import sha256_of
from stylegan.networks import Generator
from tests.evaluation_results import evaluation_results, write_train_record

NUMBERS = {"kid_x": 0.1, "precision_x": 0.5, "recall_x": 0.5, "memorized_x": 0.03}


@pytest.fixture
def root(tmp_path: Path, repository: Path, tiny_params: Params) -> Path:
    """A work tree after render."""
    (tmp_path / "params.yaml").write_bytes((repository / "params.yaml").read_bytes())
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0)
    save_generator(G.eval(), tmp_path / "models/generator.safetensors")
    write_train_record(tmp_path, fingerprint="abc123")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/samples.png").write_bytes(b"samples")
    report = evaluation_results(
        NUMBERS, floor=NUMBERS, untrained=NUMBERS | {"kid_x": 3.0}, intervals={"kid_x": [0.09, 0.12]}
    )
    digest = sha256_of(tmp_path / "models/generator.safetensors")
    metrics_json.write(tmp_path / "reports/metrics.json", report.model_copy(update={"generator_sha256": digest}))
    return tmp_path


def test_the_folder_holds_the_generator_its_samples_and_a_card_of_what_was_measured(root: Path) -> None:
    out = root / "model"
    write_folder(root, out, name="sat|ellites", licence="cc-by-4.0", data_licence="public domain")
    assert {path.name for path in out.iterdir()} == {"README.md", "config.json", "generator.safetensors", "samples.png"}
    assert load_generator(out / "generator.safetensors").img_resolution == 16
    text = (out / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    assert yaml.safe_load(header)["license"] == "cc-by-4.0"
    for part in (
        "0.1 (0.09 to 0.12)",
        "abc123",
        "public domain",
        "3.0% of its images look like copies",
        "psi 0.85",
        "# sat|ellites",
    ):
        assert part in body
    again = {path.name: path.read_bytes() for path in out.iterdir()}
    write_folder(root, out, name="sat|ellites", licence="cc-by-4.0", data_licence="public domain")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == again


def test_a_card_compares_at_equal_numbers_of_images_and_tells_no_path(root: Path) -> None:
    path = root / "reports/metrics.json"
    report = metrics_json.read(path)
    like = tuple(each.model_copy(update={"value": 0.4321}) for each in report.like_floor if each.kind == "precision")
    metrics_json.write(path, report.model_copy(update={"like_floor": like}))
    settings = (root / "params.yaml").read_text().replace("source: assets/earth ", "source: /home/me/`x|y` ")
    (root / "params.yaml").write_text(settings)
    write_folder(root, root / "model", name="x", licence="other", data_licence="not stated")
    text = (root / "model/README.md").read_text()
    assert "| precision_x | 0.5 | 0.432 | 0.5 |" in text
    assert "| training images | `'x\\|y'`: " in text
    assert "/home/me" not in text


def test_the_card_of_a_generator_that_takes_labels_names_a_class(root: Path, tiny_params: Params) -> None:
    path = root / "models/generator.safetensors"
    save_generator(Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=2).eval(), path)
    report = metrics_json.read(root / "reports/metrics.json")
    metrics_json.write(root / "reports/metrics.json", report.model_copy(update={"generator_sha256": sha256_of(path)}))
    write_folder(root, root / "model", name="x", licence="other", data_licence="not stated")
    assert "generator.safetensors --class 0 --seeds" in (root / "model/README.md").read_text()


def test_a_measurement_of_another_generator_makes_no_card(root: Path, tiny_params: Params) -> None:
    torch.manual_seed(5)
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0)
    save_generator(G.eval(), root / "models/generator.safetensors")
    with pytest.raises(CardError, match=r"metrics\.json: measured of a generator with sha256 .* Run `dvc repro`"):
        write_folder(root, root / "model", name="x", licence="other", data_licence="not stated")
    assert not (root / "model").exists()


def test_the_command_says_where_the_card_is_and_how_to_publish_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    assert main(["--name", "tiles"]) == 0
    assert "model/README.md" in (said := capsys.readouterr().out)
    assert "hf upload USER/tiles model" in said
    (root / "reports/samples.png").unlink()
    assert main([]) == 1
    assert "samples.png: file not found. Run `dvc repro render`" in capsys.readouterr().err


def test_a_readme_of_something_else_is_not_overwritten(root: Path) -> None:
    (root / "README.md").write_text("# My project")
    with pytest.raises(CardError, match=r"README\.md: this is no model card and would be lost\. Name another folder"):
        write_folder(root, root, name="x", licence="other", data_licence="not stated")
    assert (root / "README.md").read_text() == "# My project"
