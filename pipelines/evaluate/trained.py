"""The stage itself: the generator that training exported, against the archive that it was trained on."""

from pathlib import Path
from typing import Any

from pipelines.artifacts import train_json
from pipelines.artifacts.workspace import ARCHIVE, EXPORTED
from pipelines.evaluate.measurement import EvaluationError, Subject, measure, open_matching
from pipelines.params import Params
from stylegan.checkpoint import load_generator
from stylegan.files import sha256_of


def evaluate(params: Params, root: Path, state: Path) -> dict[str, Any]:
    """Measure the generator under `root`, write the reports there, and return the content of metrics.json.

    Statistics of real images are kept in the folder `state` for the next time.
    Raises EvaluationError, and the errors of the files it reads, each with its remedy.
    """
    trained = train_json.read(root)
    path = root / EXPORTED
    G = load_generator(path)
    dataset = open_matching(root / ARCHIVE, G)
    if trained.archive_sha256 != dataset.digest:
        raise EvaluationError(
            f"{dataset.path}: its sha256 is {dataset.digest[:12]}, but the generator was trained on "
            f"{trained.archive_sha256[:12]}. Run `dvc repro evaluate`, which trains on the present archive first."
        )
    facts = {"generator_sha256": sha256_of(path), "cur_nimg": trained.cur_nimg}
    return measure(params, Subject(G, trained.seed, facts), dataset, root / "assets", state, root / "reports")
