"""Stage `evaluate`: generator and archive -> reports/metrics.json, psi_sweep.csv and neighbors.png.

With --network the same of any network on any data; see `python -m pipelines.evaluate --help`.

metrics.json, made for `dvc metrics show`; the names of numbers end in the network that measured:

    extractor         name, sha256 of the weights, input_size in pixels
    num_images        generated images per measurement
    num_real          images of the split, all of which are compared with
    floor_num_images  real images that play the generator in `floor`
    seed, resize_filter, split, archive_sha256, generator_sha256
    cur_nimg          real images the generator was trained on; null where the file does not say
    metrics           what evaluate.metrics asks for, at psi = 1: kid_* fid_* precision_* recall_* density_* coverage_*
                      memorized_* is_* fid_infinity_* ppl_*
    intervals         [low, high] of some of them, by the bootstrap; `confidence` is their level
    floor             metrics of real images: a random part of the split against the disjoint rest; no ppl; memorized_*
                      is that of the held-out images, if there are any
    untrained         as metrics, of the generator that training started from
    truncation        a list over psi, ascending: psi, its metrics and its intervals; also the rows of psi_sweep.csv
    recommended       the psi that is the best trade, and a sentence that says why
    neighbors         generated images suspiciously near to training images, as drawn in neighbors.png: rows, distance
                      to each of the k nearest, spacing (from the nearest one to its own nearest); null if not measured
    per_class         label, name, num_real, num_gen, distance of each class; null without classes
    notes             what to know before the numbers are compared
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.artifacts import metrics_json
from pipelines.artifacts.workspace import ARCHIVE, EXPORTED, TRAINED
from pipelines.cluster.store import StoreError
from pipelines.diagnosis import frontier
from pipelines.evaluation import EvaluationError, Subject, measure, open_matching
from pipelines.params import ROOT, Params, load
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.tracking.recording import record_evaluation
from stylegan.checkpoint import load_generator
from stylegan.files import sha256_of


def evaluate(params: Params, root: Path, state: Path) -> dict[str, Any]:
    """Measure the generator under `root`, write the reports there, and return the content of metrics.json.

    Statistics of real images are kept in the folder `state` for the next time.
    Raises EvaluationError, and the errors of the files it reads, each with its remedy.
    """
    trained = _read_json(root / TRAINED)
    path = root / EXPORTED
    G = load_generator(path)
    dataset = open_matching(root / ARCHIVE, G)
    if trained["archive_sha256"] != dataset.digest:
        raise EvaluationError(
            f"{dataset.path}: its sha256 is {dataset.digest[:12]}, but the generator was trained on "
            f"{trained['archive_sha256'][:12]}. Run `dvc repro evaluate`, which trains on the present archive first."
        )
    facts = {"generator_sha256": sha256_of(path), "cur_nimg": trained["cur_nimg"]}
    return measure(params, Subject(G, trained["seed"], facts), dataset, root / "assets", state, root / "reports")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise EvaluationError(f"{path}: no training record there. Run `dvc repro train`, which writes it.")
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate what params.yaml says, with `section.key=value` arguments over it, and record it for MLflow."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.evaluate", description="Measure a generator.")
    parser.add_argument("--network", type=Path, metavar="FILE", help="any network: .safetensors, or an official .pkl")
    parser.add_argument("--data", type=Path, metavar="DATA", help="archive, folder or data set (data/archive.zip)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where reports go (reports/evaluations/NAME)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = parser.parse_args(arguments)
    params = load(overrides=options.overrides)
    if options.network is not None:
        from pipelines.evaluate_file import evaluate_file  # the stage itself needs no reader of foreign files

        content = evaluate_file(params, options.network, options.data, options.out)
    elif options.data is not None or options.out is not None:
        parser.error("--data and --out go with --network; the stage evaluates models/generator.safetensors")
    else:
        root = Path.cwd()
        journal = Journal(ROOT / "runs" / _read_json(root / TRAINED)["fingerprint"])
        with publishing(journal, params.tracking):
            content = evaluate(params, root, ROOT / "runs" / "features")
            record_evaluation(journal, content, params)
    print(
        metrics_json.table(content), frontier.table(content["truncation"]), content["recommended"]["sentence"], sep="\n"
    )


if __name__ == "__main__":
    try:
        main()
    except (EvaluationError, FileNotFoundError, StoreError, ValueError) as error:  # every error of ours is one of these
        sys.exit(f"evaluate: {error}")
