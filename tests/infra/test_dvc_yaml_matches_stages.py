"""dvc.yaml lists for each stage what its code reads, no more and no less; both lists are derived from the code."""

import ast
import importlib
import importlib.util
from pathlib import Path
from typing import Any, cast

import grimp
import pytest
import torch
import yaml

from pipelines.ladders import ladder
from pipelines.params import TRAINED_SECTIONS, Params
from pipelines.train.start import FOLDER
from stylegan.config import Config
from stylegan.data import ImageDataset
from stylegan.state import TrainState
from stylegan.train import train

STAGES = ("assets", "prepare", "train", "evaluate", "render")
ALL = (*STAGES, "sweep", "ablate")  # the last two have pipelines of their own, sweep/dvc.yaml and ablate/dvc.yaml
HOW_TO_RUN = {"cluster", "tracking"}
# Modules and whole rooms that decide where things run, what is recorded and under which name, how arguments and
# parameters are read, files written, and lines and errors shown: not what is computed.
PLUMBING = {
    "pipelines.cluster", "pipelines.code_digest", "pipelines.command_table", "pipelines.evaluate.external",
    "pipelines.options", "pipelines.params", "pipelines.tracking", "stylegan.command_line", "stylegan.config.checks",
    "stylegan.config.image_counts", "stylegan.config.sections", "stylegan.config.strict", "stylegan.console",
    "stylegan.exit_codes", "stylegan.files", "stylegan.text", "stylegan.wording",
}  # fmt: skip
# Files that a module reads beside params.yaml and its inputs.
READ_BY_CODE = {
    "assets": {"requirements-assets.txt"},
    "ablate": {"pipelines/ladders/${item}.yaml"},
}


@pytest.fixture(scope="module")
def stages(repository: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((repository / "dvc.yaml").read_text())
    return dict(content["stages"])


@pytest.fixture(scope="module")
def every(stages: dict[str, Any], repository: Path) -> dict[str, Any]:
    """The stages of all pipelines; that of ladders stands for each of them"""
    content: dict[str, Any] = {}
    for name in ("sweep", "ablate"):
        content |= yaml.safe_load((repository / name / "dvc.yaml").read_text())["stages"]
    content["ablate"] = content["ablate"]["do"]
    assert all(stage["wdir"] == ".." for stage in content.values())
    return stages | content


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("stylegan", "pipelines", exclude_type_checking_imports=True, cache_dir=None)


def file_of(module: str, repository: Path) -> str:
    origin = importlib.util.find_spec(module)
    assert origin is not None
    assert origin.origin is not None
    return Path(origin.origin).relative_to(repository).as_posix()


def entry(stage: str) -> str:
    """The module that `python -m pipelines.<stage>` runs"""
    spec = importlib.util.find_spec(f"pipelines.{stage}")
    assert spec is not None
    return f"pipelines.{stage}" if spec.submodule_search_locations is None else f"pipelines.{stage}.__main__"


def imported(stage: str, graph: grimp.ImportGraph) -> set[str]:
    """Modules that decide what the stage computes: what it imports, not through plumbing."""
    found, waiting = set[str](), [entry(stage)]
    while waiting:
        module = waiting.pop()
        if module not in found and not is_plumbing(module):
            found.add(module)
            waiting += graph.find_modules_directly_imported_by(module)
    return found


def is_plumbing(module: str) -> bool:
    return any(f"{module}.".startswith(f"{name}.") for name in PLUMBING)


def room_of(file: str) -> str:
    """pipelines/train/worker.py -> pipelines/train, which a stage lists whole; other files are listed themselves"""
    return "/".join(file.split("/")[:2]) if file.startswith("pipelines/") and "/ladders/" not in file else file


def code_deps(stage: dict[str, Any], repository: Path) -> set[str]:
    """Files of code and text, and rooms of pipelines/, that the stage lists; folders of stylegan/ are opened."""
    found = {dep for dep in map(str, stage["deps"]) if dep.startswith(("pipelines/", "requirements"))}
    assert all((repository / dep).exists() for dep in found if "$" not in dep)
    for dep in map(str, stage["deps"]):
        if dep.startswith("stylegan/"):
            path = repository / dep
            inside = path.rglob("*.py") if path.is_dir() else [path]
            found |= {file.relative_to(repository).as_posix() for file in inside}
    return found


def test_stages_are_the_chain_in_order(stages: dict[str, Any]) -> None:
    assert tuple(stages) == STAGES


@pytest.mark.parametrize("name", ALL)
def test_stage_is_a_module_with_a_main_of_its_name(name: str, every: dict[str, Any]) -> None:
    ladder = " --ladder ${item}" if name == "ablate" else ""
    assert every[name]["cmd"] == f"python -m pipelines.{name}{ladder}"
    assert callable(importlib.import_module(entry(name)).main)


@pytest.mark.parametrize("name", ALL)
def test_stage_reruns_when_code_that_it_imports_changes(
    name: str, every: dict[str, Any], graph: grimp.ImportGraph, repository: Path
) -> None:
    needed = {file_of(module, repository) for module in imported(name, graph)} | READ_BY_CODE.get(name, set())
    needed = {room_of(file) for file in needed}
    # A package's own file runs before its modules, but in stylegan/ holds only names.
    needed = {file for file in needed if not file.endswith("__init__.py")}
    listed = {file for file in code_deps(every[name], repository) if not file.endswith("__init__.py")}
    assert sorted(listed) == sorted(needed)


def sections_read(modules: set[str], repository: Path) -> set[str]:
    """Sections that these modules take from a variable named params or config."""
    sections, result = set(Params.model_fields), set[str]()
    for module in modules:
        tree = ast.parse((repository / file_of(module, repository)).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and _is_configuration(node.value):
                result |= sections if node.attr == "model_dump" else {node.attr} & sections
    return result


def _is_configuration(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "load"
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name in ("params", "config")


@pytest.mark.parametrize("name", STAGES)
def test_stage_reruns_when_a_section_that_it_reads_changes(
    name: str,
    stages: dict[str, Any],
    graph: grimp.ImportGraph,
    repository: Path,
    tiny_params: Params,
    tiny_archive: Path,
) -> None:
    # `stylegan` gets single sections, or the parameters that a generator was trained with; only training gets them all.
    modules = {module for module in imported(name, graph) if module.startswith("pipelines.")}
    read = sections_read(modules, repository) | (
        read_in_training(tiny_params, tiny_archive) if name == "train" else set()
    )
    listed = {param.partition(".")[0] for param in stages[name].get("params", [])}
    assert listed == read - HOW_TO_RUN - {"sweep", "ablate"}


def test_evaluation_reruns_for_the_one_value_of_training_that_it_reads_and_for_no_other(
    stages: dict[str, Any], graph: grimp.ImportGraph, repository: Path
) -> None:
    modules = {module for module in imported("evaluate", graph) if module.startswith("pipelines.")}
    sources = [(repository / file_of(module, repository)).read_text() for module in modules]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    read = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    read = {text.removeprefix("params.") for text in read if text.startswith("params.train.")}
    assert read == {param for param in stages["evaluate"]["params"] if param.startswith("train")}


class Recorder:
    """Parameters that remember which of their sections were asked for."""

    def __init__(self, params: Params) -> None:
        self._params, self.asked = params, set[str]()

    def __getattr__(self, name: str) -> Any:
        self.asked.add(name)
        return getattr(self._params, name)


def read_in_training(params: Params, archive: Path) -> set[str]:
    """Sections that a whole training asks for."""
    recorder = Recorder(params)
    config = cast(Config, recorder)
    dataset = ImageDataset(archive, use_labels=False, xflip=False, split="train", max_images=None)
    state = TrainState.create(config, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
    assert list(train(state, dataset))
    return recorder.asked


def test_the_name_of_a_run_depends_on_the_sections_that_make_it_another(stages: dict[str, Any]) -> None:
    assert set(stages["train"]["params"]) == set(TRAINED_SECTIONS)


def test_no_stage_reruns_when_only_the_place_to_run_changes(stages: dict[str, Any]) -> None:
    for stage in stages.values():
        assert not HOW_TO_RUN & set(stage.get("params", []))


def test_the_sweep_reruns_when_what_it_varies_or_measures_changes(every: dict[str, Any]) -> None:
    # Its code looks at all sections for the names of parameters; of the archive it reads the file.
    assert set(every["sweep"]["params"]) == {*TRAINED_SECTIONS, "evaluate", "sweep"}
    assert {"data/archive.zip", "assets/efficientnet_lite0.safetensors", FOLDER} <= set(every["sweep"]["deps"])


def test_a_ladder_reruns_when_what_it_lies_on_or_measures_changes(every: dict[str, Any]) -> None:
    assert set(every["ablate"]["params"]) == {*TRAINED_SECTIONS, "evaluate", "ablate"}
    assert {"data/archive.zip", "assets/efficientnet_lite0.safetensors", FOLDER} <= set(every["ablate"]["deps"])


def test_every_ladder_has_a_stage(repository: Path) -> None:
    content = yaml.safe_load((repository / "ablate" / "dvc.yaml").read_text())
    assert content["stages"]["ablate"]["foreach"] == ladder.names()


def test_every_section_is_listed_by_a_stage_or_says_how_to_run(every: dict[str, Any]) -> None:
    listed = {param.partition(".")[0] for stage in every.values() for param in stage.get("params", [])}
    assert listed | HOW_TO_RUN == set(Params.model_fields)


def test_the_source_of_images_is_a_dependency(stages: dict[str, Any]) -> None:
    assert "${prepare.source}" in stages["prepare"]["deps"]


def test_networks_to_start_from_are_a_dependency_of_training(stages: dict[str, Any]) -> None:
    assert FOLDER in stages["train"]["deps"]


def test_generated_files_are_not_under_version_control(every: dict[str, Any], repository: Path) -> None:
    ignored = (repository / ".gitignore").read_text().splitlines()
    for stage in every.values():
        for out in stage.get("outs", []) + stage.get("metrics", []):
            assert f"/{out.split('/')[0]}/" in ignored
