"""Stage `train`: archive -> models/generator.safetensors, models/train.json, reports/ticks.csv.

These names are all that other rooms use of it.
"""

from pipelines.train.driver import TrainError, exclusive, fit, run, run_experiment
from pipelines.train.identity import fixed_name_of, inputs_of
from pipelines.train.snapshots import export
from pipelines.train.start import open_training_set, pretrained_file

__all__ = [
    "TrainError", "exclusive", "export", "fit", "fixed_name_of", "inputs_of", "open_training_set", "pretrained_file",
    "run", "run_experiment",
]  # fmt: skip
