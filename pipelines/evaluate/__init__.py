"""Stage `evaluate`: generator and archive -> reports/metrics.json, psi_sweep.csv and neighbors.png.

These names are all that other rooms use of it.
"""

from pipelines.evaluate.measurement import Subject, measure, open_matching

__all__ = ["Subject", "measure", "open_matching"]
