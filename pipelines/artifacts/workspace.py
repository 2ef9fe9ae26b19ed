"""Files of the work tree, of a run and of a checkpoint: where they are."""

from pathlib import Path

GENERATOR = "generator.safetensors"  # in every checkpoint
# Below a work tree, and some of them below the folder of a run.
ARCHIVE = Path("data/archive.zip")
MANIFEST = Path("data/manifest.json")
EXPORTED = Path("models") / GENERATOR
TRAINED = Path("models/train.json")
METRICS = Path("reports/metrics.json")
TICKS = Path("reports/ticks.csv")
