"""Stage `train`: archive -> models/generator.safetensors, models/train.json, reports/ticks.csv.

These names are all that other rooms use of it. They are imported when first asked for, so that
`python -m pipelines.train --help` waits neither for torch nor for Ray.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.train.driver import TrainError, exclusive, fit, run, run_experiment
    from pipelines.train.follow import Place
    from pipelines.train.identity import fixed_name_of, inputs_of
    from pipelines.train.kept import Kept, is_snapshot, snapshot_name, take
    from pipelines.train.slow_precision import measure_slowdown
    from pipelines.train.snapshots import STATE, export
    from pipelines.train.start import open_training_set, pretrained_file

__all__ = [
    "STATE", "Kept", "Place", "TrainError", "exclusive", "export", "fit", "fixed_name_of", "inputs_of",
    "is_snapshot", "measure_slowdown", "open_training_set", "pretrained_file", "run", "run_experiment",
    "snapshot_name", "take",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipelines.train import driver, follow, identity, kept, slow_precision, snapshots, start

    modules = (driver, follow, identity, kept, slow_precision, snapshots, start)
    return next(vars(module)[name] for module in modules if name in vars(module))
