"""Stage `train`: archive -> models/generator.safetensors, models/train.json, reports/ticks.csv.

These names are all that other rooms use of it.
"""

from pipelines.train.driver import TrainError, exclusive, fit, run, run_experiment
from pipelines.train.identity import fixed_name_of, inputs_of
from pipelines.train.kept import Kept, take
from pipelines.train.snapshots import STATE, export
from pipelines.train.start import open_training_set, pretrained_file

__all__ = [
    "STATE", "Kept", "TrainError", "exclusive", "export", "fit", "fixed_name_of", "inputs_of", "open_training_set",
    "pretrained_file", "run", "run_experiment", "take",
]  # fmt: skip
