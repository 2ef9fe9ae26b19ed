"""What is served: a generator file, or a model of the registry, of which nothing but the generator is fetched."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.params import ROOT, load
from pipelines.tracking.publisher import fetch_generator

REGISTERED = "models:/"  # how the address of a model in the registry begins


@contextmanager
def model_file(model: str) -> Iterator[Path]:
    """The file of a generator, for as long as the block. Raises TrackingError for a model that cannot be fetched."""
    if not model.startswith(REGISTERED):
        yield Path(model)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield fetch_generator(model, load(ROOT / "params.yaml").tracking, Path(folder))
