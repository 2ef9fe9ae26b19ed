"""README.md: every code block runs, here or in a test that is named, and every word and file that it uses is there."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipelines.cli import main
from pipelines.diagnosis.alarms import RULES
from pipelines.params import Params, load
from stylegan.commands.table import COMMANDS
from tests.official_files import official, small_discriminator, small_generator
from tests.photos import write_photos
from tests.readme import Block, blocks

PAGES = ("README.md", "docs/python.md", "docs/migrating.md")  # their blocks run here
# Commands that take minutes, open servers or install, and the tests that run them.
ELSEWHERE = {
    "git clone REPOSITORY_URL stylegan2-ada": "tests/e2e/test_quick_start.py",
    "cd stylegan2-ada": "tests/e2e/test_quick_start.py",
    "make repro": "tests/e2e/test_quick_start.py",
    "make ui": "tests/e2e/test_quick_start.py",
    "make sweep": "tests/distributed/test_sweep.py",
    'make ablate LADDER=stylegan2 ARGS="--seeds 3"': "tests/distributed/test_ablate.py",
}
OUTPUT = "tests/e2e/test_dvc_repro.py"  # compares blocks of the language text with a run
IMAGES = 300  # times do not depend on their number
TERMS = (
    "kimg", "snapshot", "psi", "r_t", "baseline", "KID", "Frechet distance", "precision", "recall", "PPL", "memorized",
    "LPIPS", "verdict", "grade", "alarm", "ladder", "bf16", "interval", "style mixing",
)  # fmt: skip


def commands(block: Block) -> list[str]:
    """The commands of a shell in a block, without comments"""
    lines = [re.sub(r"\s+# .*", "", line) for line in block.lines] if block.language == "" else []
    return [command.strip() for line in lines for command in line.split(" && ")]


def is_run_here(command: str) -> bool:
    return command.startswith(".venv/bin/stylegan ")


def all_blocks(repository: Path) -> list[Block]:
    return [block for page in PAGES for block in blocks(repository / page)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), IMAGES, {}).folder


@pytest.fixture
def place(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what a user has after the installation"""
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained/earth32.safetensors").symlink_to(repository / "pretrained/earth32.safetensors")
    for name in ("assets", "params.yaml"):
        (tmp_path / name).symlink_to(repository / name)
    (tmp_path / "network.pkl").write_bytes(official(small_generator(), small_discriminator()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_is_run_here_or_by_a_test_that_is_named(repository: Path) -> None:
    for block in all_blocks(repository):
        assert block.language in ("", "python", "text"), block.text
        unknown = [command for command in commands(block) if not is_run_here(command) and command not in ELSEWHERE]
        assert unknown == [], "neither run here nor named in ELSEWHERE"


def test_the_tests_that_are_named_have_tests_and_their_commands_are_still_in_readme(repository: Path) -> None:
    used = {command for block in blocks(repository / "README.md") for command in commands(block)}
    assert ELSEWHERE.keys() <= used
    for file in {*ELSEWHERE.values(), OUTPUT}:
        tree = ast.parse((repository / file).read_text())
        assert any(isinstance(node, ast.FunctionDef) and node.name.startswith("test_") for node in tree.body), file


def test_commands_of_the_readme_run(place: Path, photos: Path, repository: Path) -> None:
    found = [command for block in all_blocks(repository) for command in commands(block) if is_run_here(command)]
    assert len(found) >= 5
    for command in dict.fromkeys(found):
        if " plan " in command and "--hours" not in command:
            continue  # below, with what it says
        assert main(shlex.split(command)[1:]) == 0, command
    assert len([*(place / "samples").glob("seed*.png")]) == 10
    assert (place / "pretrained/network.safetensors").exists()


def test_the_plans_of_the_readme_end_with_the_times_it_names(
    photos: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Times on a processor are measured, so only those on a GPU, which are extrapolated, are compared."""
    text = (repository / "README.md").read_text()
    plans = [
        command for block in blocks(repository / "README.md") for command in commands(block) if "--source" in command
    ]
    assert len(plans) == 2
    for command in plans:
        arguments = shlex.split(command.replace("path/to/images", shlex.quote(str(photos))))[1:]
        assert main([*arguments, "--dry-run"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        own = text[text.index("it expects") :].partition("\n\n")[0]
        if "--gpus 1" in command:
            kimg, days = re.findall(r"Needs: (.+?) for (\d+) kimg", said)[0][::-1]
            first, good = re.findall(
                r"recognisable after 1,000 kimg = (.+?), good from 5,000 to 25,000 kimg = (.+?) to", said
            )[0]
            memory = re.findall(r"memory ([\d.]+ GB)", said)[0]
            assert f"{first} until images are recognisable, {good} until" in own
            assert f"{days} for all {int(kimg):,} kimg, and {memory} of GPU memory" in own
        else:
            assert re.search(r"Needs: .+ for \d+ kimg on \d", said)


@pytest.mark.parametrize("page", PAGES)
def test_python_of_the_page_runs(place: Path, repository: Path, page: str) -> None:
    for block in blocks(repository / page):
        if block.language == "python":
            text = re.sub(r"steps=\d+", "steps=3", block.text)
            exec(compile(text, page, "exec"), names := {})
            for name, expected in re.findall(r"^(\w+) = .*# (?:uint8 )?(\[[\d, ]+\])", block.text, re.MULTILINE):
                assert list(names[name].shape) == ast.literal_eval(expected), name


def test_make_knows_the_targets_and_does_without_it_what_the_page_says(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text()
    for page in ("README.md", "docs/commands.md"):
        for target in re.findall(r"`?\bmake ([a-z-]+)", "\n".join(b.text for b in blocks(repository / page))):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    (block,) = [block for block in blocks(repository / "docs/commands.md") if "infra/install.py" in block.text]
    assert commands(block) == [
        "python3 -m venv --clear .venv", ".venv/bin/python infra/install.py", "source .venv/bin/activate", "dvc repro",
        "stylegan publish",
    ]  # fmt: skip
    for rule in (
        "$(PYTHON) -m venv --clear .venv",
        "$(INSTALL)",
        "$(DVC) repro",
        "python -m pipelines.tracking publish",
    ):
        assert rule in makefile


def test_links_lead_to_files_and_headings(repository: Path) -> None:
    pages = [repository / "README.md", *(repository / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if target.startswith(("http", "mailto")):
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in anchors(file), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """What GitHub makes of headings"""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_of_the_documentation_is_linked(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    assert [page.name for page in (repository / "docs").glob("*.md") if f"docs/{page.name}" not in text] == []


@pytest.mark.parametrize("term", TERMS)
def test_the_glossary_explains_what_the_readme_uses(repository: Path, term: str) -> None:
    assert re.search(rf"\b{term}s?\b", (repository / "README.md").read_text()), "not used any more"
    first = re.findall(r"^\| ([^|]+) \|", (repository / "docs/glossary.md").read_text(), re.MULTILINE)
    assert any(re.search(rf"\b{term}\b", cell) for cell in first)


def test_the_readme_and_its_page_name_every_alarm(repository: Path) -> None:
    source = (repository / "pipelines/diagnosis/alarms.py").read_text()
    names = re.findall(r'Finding\(\s*"([a-z-]+)"', source)
    assert len(names) == len(RULES)
    for page in ("README.md", "docs/troubleshooting.md"):
        assert [name for name in names if f"`{name}`" not in (repository / page).read_text()] == []


def test_settings_that_the_pages_name_exist(repository: Path) -> None:
    params = load(repository / "params.yaml", [])
    sections = "|".join(Params.model_fields)
    for page in [repository / "README.md", *(repository / "docs").glob("*.md")]:
        if page.name == "log.md":
            continue  # of its days
        for section, key in re.findall(rf"`({sections})\.(\w+)`", page.read_text()):
            assert key in ("py", "yaml", "jsonl") or hasattr(getattr(params, section), key), (
                f"{page.name}: {section}.{key}"
            )


def test_the_commands_of_the_readmes_table_exist(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    named = re.findall(
        r"^\| ((?:`[a-z]+[^|`]*`(?:, )?)+) \|",
        text.partition("| command | does |")[2].partition("\n\n")[0],
        re.MULTILINE,
    )
    words = {word for cell in named for word in re.findall(r"`([a-z]+)", cell)}
    assert {"generate", "project", "evaluate"} <= words
    known = {command.name for command in COMMANDS} | {"evaluate", "card", "serve", "explore"}
    assert words <= known


def test_the_citation_file_is_valid_and_names_the_version(repository: Path) -> None:
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert f'version = "{citation["version"]}"' in (repository / "pyproject.toml").read_text()
    assert f'license = "{citation["license"]}"' in (repository / "pyproject.toml").read_text()
