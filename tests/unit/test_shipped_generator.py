"""The generator that comes with the project is the one that its card describes, and draws at once."""

import hashlib
from pathlib import Path

from stylegan.__main__ import main


def test_the_card_names_the_digest_of_its_file(repository: Path) -> None:
    cards = list((repository / "pretrained").glob("*.md"))
    networks = [card.with_suffix(".safetensors") for card in cards if card.name != "README.md"]
    assert networks
    for network in networks:
        assert hashlib.sha256(network.read_bytes()).hexdigest() in network.with_suffix(".md").read_text()


def test_the_generator_that_comes_with_the_project_draws(repository: Path, tmp_path: Path) -> None:
    network = repository / "pretrained" / "earth32.safetensors"
    main(["generate", str(network), "--seeds", "0-3", "--psi", "0.85", "--out", str(tmp_path)])
    assert len(list(tmp_path.glob("seed*.png"))) == 4
