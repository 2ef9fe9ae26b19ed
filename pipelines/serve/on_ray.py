"""The application of app.py as replicas on a Ray cluster (infra/serve/ray.yaml), among which Ray Serve shares requests.

It needs the extra `serve`. Ray starts a replica that dies again. What it was drawing is answered with an error, and may
be asked for again: the same address is the same image.
"""

from pathlib import Path

import torch
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray import serve

from pipelines.serve.app import create_app, load_service
from pipelines.serve.source import REGISTERED, model_file


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


def build(options: Options) -> serve.Application:
    """The application; a path must be one that every node sees."""
    if not options.model.startswith(REGISTERED):
        options = options.model_copy(update={"model": str(Path(options.model).resolve())})
    return DRAWING.bind(options)
