"""Stage `evaluate`: generator and archive -> reports/metrics.json, psi_sweep.csv and neighbors.png.

These names are all that other rooms use of it. They are imported when first asked for, so that
`python -m pipelines.evaluate --help` does not wait for torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.evaluate.measurement import EvaluationError, Subject, measure, open_matching
    from pipelines.evaluate.on_cluster import MEASURING_CODE
    from pipelines.evaluate.trained import evaluate

__all__ = ["MEASURING_CODE", "EvaluationError", "Subject", "evaluate", "measure", "open_matching"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipelines.evaluate import measurement, on_cluster, trained

    return next(vars(module)[name] for module in (measurement, on_cluster, trained) if name in vars(module))
