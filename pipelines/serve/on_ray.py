"""The application of app.py as replicas on a Ray cluster, among which Ray Serve shares requests.

    python -m pipelines.serve.on_ray infra/serve/ray.yaml

It needs the extra `serve`. Ray starts a replica that dies again. What it was drawing is answered with an error, and may
be asked for again: the same address is the same image.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import torch
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray import serve

from pipelines.cluster.connection import connect
from pipelines.cluster.signals import stop_on_signals
from pipelines.listening import is_loopback
from pipelines.params import ROOT, load
from pipelines.serve.app import create_app, load_service
from pipelines.serve.source import model_file, settle
from pipelines.yaml_files import read_yaml
from stylegan.command_line import Parser
from stylegan.exit_codes import exit_code
from stylegan.text import print_lines


class Options(BaseModel):
    """`args` of the application."""

    model_config = ConfigDict(extra="forbid")

    model: str
    device: str = "cpu"
    images_at_once: int = 1
    tracking_uri: str | None = None  # of the server that has the model
    host: str = "127.0.0.1"  # on which Serve listens


class Drawing:
    """One replica, with a generator of its own."""

    def __init__(self, options: Options) -> None:
        self.is_private = is_loopback(options.host)
        with model_file(options.model, options.tracking_uri) as generator:
            self.service = load_service(
                generator, batch_size=options.images_at_once, device=torch.device(options.device)
            )

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self.service, is_private=self.is_private)


DRAWING = serve.deployment(name="Drawing", max_ongoing_requests=64)(serve.ingress()(Drawing))


@contextmanager
def running(file: Path, changes: Mapping[str, Mapping[str, object]] = MappingProxyType({})) -> Iterator[str]:
    """Serve what a file says, on the Ray that this process has joined, for as long as the block, and yield the address

    It is empty if Serve already ran there: then it answers on a port that only those know who started it.
    changes: for http_options, args and deployment, over those of the file.
    Raises RuntimeError if the application runs already, and TrackingError for a model that is not registered.
    """
    values = read_yaml(file, file, "applications, as in infra/serve/ray.yaml")
    ((application,), http) = values["applications"], {**values["http_options"], **changes.get("http_options", {})}
    (deployment,), name = application["deployments"], application["name"]
    args = {**application["args"], **changes.get("args", {}), "host": http["host"]}
    chosen = {**deployment, **changes.get("deployment", {})}
    bound = DRAWING.options(**chosen).bind(absolute(Options.model_validate(args)))
    before = serve.status()
    if name in before.applications:
        raise RuntimeError(f"{file}: the cluster already runs an application {name}. Choose another name in the file.")
    is_shared = bool(before.proxies or before.applications)
    if is_shared:
        print_lines(
            f"{file}: http_options are ignored, because Serve already runs on this cluster. It answers on the host and "
            "port that it was started with."
        )
    try:
        serve.start(proxy_location=values["proxy_location"], http_options=http)
        serve.run(bound, name=name)
        yield "" if is_shared else f"http://{http['host']}:{http['port']}"
    finally:
        if is_shared:  # shutdown would end other people's applications
            serve.delete(name)
        else:
            serve.shutdown()


def absolute(options: Options) -> Options:
    """The same with a model that every replica finds, and which stays the same when an alias moves"""
    model, uri = settle(options.model, options.tracking_uri)
    return options.model_copy(update={"model": model, "tracking_uri": uri})


def build(options: Options) -> serve.Application:
    """The application, for Ray Serve's own commands"""
    return DRAWING.bind(absolute(options))


@exit_code
@stop_on_signals()
def main(arguments: Sequence[str] | None = None) -> None:
    """Join the cluster of params.yaml, or start Ray here, and answer until a signal comes."""
    parser = Parser(prog="python -m pipelines.serve.on_ray", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="such as infra/serve/ray.yaml")
    options = parser.parse_args(arguments)
    with connect(load(ROOT / "params.yaml").cluster), running(options.file) as address:
        print_lines(f"{address}/image?seed=7 (also /images, /model and /health). Ctrl-C stops it.")
        while True:
            time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
