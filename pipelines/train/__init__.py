"""Stage `train`: archive -> models/generator.safetensors, models/train.json, reports/ticks.csv.

These names are all that other rooms use of it.
"""

from pipelines.train.driver import TrainError, exclusive, fit, run
from pipelines.train.follow import Place
from pipelines.train.identity import code_digest, inputs_of, open_training_set
from pipelines.train.snapshots import export
from pipelines.train.start import pretrained_file

__all__ = [
    "Place", "TrainError", "code_digest", "exclusive", "export", "fit", "inputs_of", "open_training_set",
    "pretrained_file", "run",
]  # fmt: skip
