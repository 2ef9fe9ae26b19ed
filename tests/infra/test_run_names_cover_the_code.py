"""The code in a run's name and the code that DVC watches are derived from what training imports, and agree."""

from pathlib import Path

import grimp
import pytest
import yaml

from pipelines.evaluate.on_cluster import MEASURING_CODE
from pipelines.train.identity import CODE, MONITOR_CODE

# Modules that training executes and that decide no weights, each with its reason.
PLUMBING = {
    "stylegan.config.sections": "declares values, which are in the name themselves",
    "stylegan.config.checks": "refuses values, and computes none",
    "stylegan.config.image_counts": "refuses too few images, and computes none",
    "stylegan.config.strict": "reads values and words errors",
    "stylegan.files": "writes files whole",
    "stylegan.exit_codes": "words errors of the system",
    "stylegan.text": "words errors",
}
SHOWN = {
    "stylegan.stats": "means for the log",
    "stylegan.analysis.contributions": "columns of the log",
    "stylegan.drawing.curves": "used by generate",
    "stylegan.drawing.generate": "pictures of snapshots",
}


# What draws generated images, which real ones do not see.
GENERATING = ("stylegan.augment", "stylegan.config.augmentation", "stylegan.drawing", "stylegan.networks",
              "stylegan.ops", "stylegan.state")  # fmt: skip


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("stylegan", "pipelines", exclude_type_checking_imports=True, cache_dir=None)


def executed(graph: grimp.ImportGraph, *entries: str) -> set[str]:
    """Modules of stylegan that these import, directly or not"""
    found, waiting = set[str](), [*entries]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += graph.find_modules_directly_imported_by(module)
    return {module for module in found if module.startswith("stylegan.")}


def modules_of(entries: tuple[str, ...], repository: Path) -> set[str]:
    """Modules of stylegan behind files and folders; a package's own file holds only names"""
    found = set[str]()
    for entry in entries:
        path = repository / entry
        assert path.exists(), entry
        for file in path.rglob("*.py") if path.is_dir() else [path]:
            found.add(file.relative_to(repository).with_suffix("").as_posix().replace("/", "."))
    return {module for module in found if module.startswith("stylegan.") and not module.endswith("__init__")}


def without_packages(modules: set[str], graph: grimp.ImportGraph) -> set[str]:
    return {module for module in modules if not graph.find_children(module)}


def test_the_name_covers_what_a_step_a_start_and_a_resume_execute(graph: grimp.ImportGraph, repository: Path) -> None:
    entries = ("train", "transfer", "checkpoint", "backends")  # the last prepares the device
    step = executed(graph, *(f"stylegan.{name}" for name in entries))
    assert without_packages(step, graph) - PLUMBING.keys() - {"stylegan.stats"} == modules_of(CODE, repository)


def test_the_yardstick_covers_what_measures_snapshots(graph: grimp.ImportGraph, repository: Path) -> None:
    measuring = without_packages(executed(graph, "stylegan.monitor"), graph) - modules_of(CODE, repository)
    assert measuring - PLUMBING.keys() == modules_of(MONITOR_CODE, repository)


def test_the_digest_of_what_real_images_score_covers_all_that_measures_them(
    graph: grimp.ImportGraph, repository: Path
) -> None:
    measuring = without_packages(executed(graph, "stylegan.metrics.evaluation.evaluator", "stylegan.backends"), graph)
    others = measuring - modules_of(MEASURING_CODE, repository) - PLUMBING.keys()
    assert [module for module in sorted(others) if not module.startswith(GENERATING)] == []


def test_every_module_that_a_worker_executes_is_named_or_has_its_reason(
    graph: grimp.ImportGraph, repository: Path
) -> None:
    worker = without_packages(executed(graph, "pipelines.train.worker"), graph)
    named = modules_of(CODE, repository) | modules_of(MONITOR_CODE, repository)
    assert worker - named == PLUMBING.keys() | SHOWN.keys()
    assert not named & (PLUMBING.keys() | SHOWN.keys())


def test_dvc_watches_the_same_code(repository: Path) -> None:
    stage = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]["train"]
    watched = modules_of(tuple(dep for dep in stage["deps"] if dep.startswith("stylegan/")), repository)
    assert watched == modules_of((*CODE, *MONITOR_CODE), repository) | SHOWN.keys()
    rooms = {dep for dep in stage["deps"] if dep.startswith("pipelines/")}
    assert all(any(entry.startswith(f"{room}/") for room in rooms) for entry in CODE if entry.startswith("pipelines/"))
