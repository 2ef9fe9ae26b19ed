"""What is served: a generator file, or a model of the registry, of which nothing but the generator is fetched."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.params import ROOT, TrackingConfig, load
from pipelines.tracking.publisher import fetch_generator, name_version, tracking_uri

REGISTERED = "models:/"  # how the address of a model in the registry begins


@contextmanager
def model_file(model: str, uri: str | None = None) -> Iterator[Path]:
    """The file of a generator, for as long as the block. Raises TrackingError for a model that cannot be fetched.

    uri: of the server that has the model; None for the usual one.
    """
    if not model.startswith(REGISTERED):
        yield Path(model)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield fetch_generator(model, _tracking(uri), Path(folder))


def settle(model: str, uri: str | None = None) -> tuple[str, str | None]:
    """The same model and its server, as other processes find them, also after its alias has moved

    Raises TrackingError for a model that is not registered.
    """
    if not model.startswith(REGISTERED):
        return str(Path(model).resolve()), uri
    tracking = _tracking(uri)
    return name_version(model, tracking), tracking_uri(tracking)


def _tracking(uri: str | None) -> TrackingConfig:
    tracking = load(ROOT / "params.yaml").tracking
    return tracking if uri is None else tracking.model_copy(update={"uri": uri})
