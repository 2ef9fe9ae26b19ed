"""Stage `train`: archive -> models/generator.safetensors, models/train.json, reports/ticks.csv.

These names are all that other rooms use of it. They are imported when first asked for, so that
`python -m pipelines.train --help` waits neither for torch nor for Ray.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.train.driver import TrainError, exclusive, fit, run
    from pipelines.train.follow import Place
    from pipelines.train.identity import code_digest, inputs_of, open_training_set
    from pipelines.train.slow_precision import measure_slowdown
    from pipelines.train.snapshots import export
    from pipelines.train.start import pretrained_file

__all__ = [
    "Place", "TrainError", "code_digest", "exclusive", "export", "fit", "inputs_of", "measure_slowdown",
    "open_training_set", "pretrained_file", "run",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipelines.train import driver, follow, identity, slow_precision, snapshots, start

    modules = (driver, follow, identity, slow_precision, snapshots, start)
    return next(vars(module)[name] for module in modules if name in vars(module))
