"""Stage `evaluate`: generator and archive -> reports/metrics.json, psi_sweep.csv and neighbors.png.

These names are all that other rooms use of it.
"""

from pipelines.evaluate.measurement import EvaluationError, Subject, measure, open_matching
from pipelines.evaluate.trained import evaluate

__all__ = ["EvaluationError", "Subject", "evaluate", "measure", "open_matching"]
