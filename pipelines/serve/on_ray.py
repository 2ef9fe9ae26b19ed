"""The application of app.py as replicas on a Ray cluster, among which Ray Serve shares requests.

    python -m pipelines.serve.on_ray infra/serve/ray.yaml

It needs the extra `serve`. Ray starts a replica that dies again. What it was drawing is answered with an error, and may
be asked for again: the same address is the same image.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray import serve

from pipelines.cluster.connection import connect
from pipelines.cluster.signals import stop_on_signals
from pipelines.params import ROOT, load
from pipelines.serve.app import create_app, load_service
from pipelines.serve.source import REGISTERED, model_file
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


class Drawing:
    """One replica, with a generator of its own."""

    def __init__(self, options: Options) -> None:
        with model_file(options.model) as generator:
            self.service = load_service(
                generator, batch_size=options.images_at_once, device=torch.device(options.device)
            )

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self.service)


DRAWING = serve.deployment(name="Drawing", max_ongoing_requests=64)(serve.ingress()(Drawing))


def start(file: Path, changes: Mapping[str, Mapping[str, object]] = MappingProxyType({})) -> str:
    """Start what a file says on the Ray that this process has joined, and return the address.

    changes: for http_options, args and deployment, over those of the file.
    """
    values = read_yaml(file, file, "applications, as in infra/serve/ray.yaml")
    ((application,), http) = values["applications"], {**values["http_options"], **changes.get("http_options", {})}
    (deployment,) = application["deployments"]
    serve.start(proxy_location=values["proxy_location"], http_options=http)
    options = Options.model_validate({**application["args"], **changes.get("args", {})})
    chosen = {**deployment, **changes.get("deployment", {})}
    serve.run(DRAWING.options(**chosen).bind(absolute(options)), name=application["name"])
    return f"http://{http['host']}:{http['port']}"


def absolute(options: Options) -> Options:
    """The same with a path that other processes see"""
    if options.model.startswith(REGISTERED):
        return options
    return options.model_copy(update={"model": str(Path(options.model).resolve())})


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
    with connect(load(ROOT / "params.yaml").cluster):
        address = start(options.file)
        print_lines(f"{address}/image?seed=7 (also /images, /model and /health). Ctrl-C stops it.")
        try:
            while True:
                time.sleep(1)
        finally:
            serve.shutdown()


if __name__ == "__main__":
    sys.exit(main())
