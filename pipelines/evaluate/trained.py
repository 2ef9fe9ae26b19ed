"""The stage itself: the generator that training exported, against the archive that it was trained on."""

from pathlib import Path

from pipelines.artifacts import train_json
from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.artifacts.workspace import ARCHIVE, EXPORTED
from pipelines.evaluate.measurement import EvaluationError, Subject, measure, open_matching
from pipelines.params import Params
from stylegan.checkpoint import load_generator
from stylegan.files import sha256_of


def evaluate(params: Params, root: Path, state: Path) -> MetricsReport:
    """Measure the generator under `root`, write the reports there, and return what they say.

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
    subject = Subject(G, trained.seed, sha256_of(path), trained.cur_nimg)
    return measure(params, subject, dataset, root / "assets", state, root / "reports")
