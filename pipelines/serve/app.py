"""The HTTP interface: images by seed, psi and class, what the model is, and whether it answers.

GET only, so that no request has a body, and whoever gets no answer may ask again: the same address is the same image.
"""

import asyncio
import base64
import logging
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated

import torch
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from pipelines.listening import Guard
from pipelines.serve.batching import Batcher, BusyError
from stylegan.backends import prepare_device
from stylegan.config.pyramid import spelt
from stylegan.config.sections import Kernels
from stylegan.drawing.requested import MAX_PSI, MAX_SEED, PSI, RequestError, check_request, draw
from stylegan.files import sha256_of
from stylegan.generators import load_any_generator
from stylegan.networks import Generator
from stylegan.text import print_lines, shorten, visible

LOOK_SEC = 1.0  # between two looks whether a client still waits
CLOSED = 499  # as nginx calls it
MOST_IMAGES, MOST_WAITING = 64, 1024  # of one request; of all requests that are not answered yet
PLACE = "GET /image?seed=7&psi=0.7 or /images?seed=1&seed=2, with &class=NAME for a conditional generator"

logger = logging.getLogger(__name__)


class Asked(BaseModel):
    """What an address may say beside seeds."""

    model_config = ConfigDict(extra="forbid")

    psi: float = PSI
    class_name: Annotated[str | None, Field(alias="class", max_length=200)] = None


class OneImage(Asked):
    """Of /image."""

    seed: int


class ManyImages(Asked):
    """Of /images."""

    seed: Annotated[list[int], Field(min_length=1, max_length=MOST_IMAGES)]


class Service:
    """A generator that draws what it is asked for."""

    def __init__(self, G: Generator, class_names: Sequence[str] | None, *, batch_size: int, digest: str) -> None:
        self.G, self.class_names = G, class_names
        self.batcher = Batcher(
            lambda requests: draw(G, requests, batch_size=batch_size), batch_size=batch_size, most_waiting=MOST_WAITING
        )
        self.facts = {
            "pixels": spelt(G.img_resolution), "channels": G.img_channels, "classes": class_names or G.c_dim,
            "generator_sha256": digest, "largest_seed": MAX_SEED, "psi": [-MAX_PSI, MAX_PSI],
            "most_images": MOST_IMAGES, "batch_size": batch_size,
        }  # fmt: skip

    async def images(self, seeds: Sequence[int], asked: Asked) -> list[bytes]:
        """A PNG for each seed. Raises RequestError, BusyError."""
        requests = [
            check_request(self.G, self.class_names, seed=seed, psi=asked.psi, class_name=asked.class_name)
            for seed in seeds
        ]
        return await self.batcher.images(requests)


def load_service(generator: Path, *, batch_size: int, device: torch.device, kernels: Kernels = "auto") -> Service:
    """Load the generator and draw an image, so that one that cannot is not served. Raises as load_any_generator."""
    if line := prepare_device(device, kernels, allow_tf32=False):
        print_lines(line, to_stderr=True)
    G, class_names = load_any_generator(generator)
    G = G.to(device)
    draw(
        G,
        [check_request(G, class_names, seed=0, class_name=_first(G, class_names))] * batch_size,
        batch_size=batch_size,
    )
    return Service(G, class_names, batch_size=batch_size, digest=sha256_of(generator))


def _first(G: Generator, class_names: Sequence[str] | None) -> str | None:
    return None if G.c_dim == 0 else class_names[0] if class_names else "0"


def create_app(service: Service, *, is_private: bool) -> FastAPI:
    """The application. It has no pages of documentation, which would fetch scripts from elsewhere.

    is_private: as for Guard.
    """
    app = FastAPI(title="stylegan serve", docs_url=None, redoc_url=None)
    app.add_middleware(Guard, is_private=is_private)

    @app.get("/image")
    async def image(request: Request, asked: Annotated[OneImage, Query()]) -> Response:
        (png,) = await unless_gone(request, service.images([asked.seed], asked))
        return Response(png, media_type="image/png")

    @app.get("/images")
    async def images(request: Request, asked: Annotated[ManyImages, Query()]) -> dict[str, object]:
        found = await unless_gone(request, service.images(asked.seed, asked))
        return {"seeds": asked.seed, "png": [base64.b64encode(png).decode() for png in found]}

    @app.get("/health")
    async def health() -> dict[str, object]:
        return {"status": "ok", "waiting": service.batcher.num_waiting}

    @app.get("/model")
    async def model() -> dict[str, object]:
        return dict(service.facts)

    _answer_errors(app)
    return app


async def unless_gone(request: Request, images: Coroutine[None, None, list[bytes]]) -> list[bytes]:
    """The images, given up if the client closes its connection. Raises HTTPException, which then nobody reads."""
    task = asyncio.create_task(images)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_SEC))[0]:
            if await request.is_disconnected():
                raise HTTPException(CLOSED, "the connection was closed")
        return task.result()
    finally:
        task.cancel()


def _answer_errors(app: FastAPI) -> None:
    """Each as {"error": one line}"""

    @app.exception_handler(RequestValidationError)
    async def _(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        what = ".".join(str(part) for part in first["loc"][1:])
        return _error(400, f"{what}: {first['msg']}. Ask for {PLACE}.")

    @app.exception_handler(RequestError)
    async def _(_request: Request, error: RequestError) -> JSONResponse:
        return _error(400, str(error))

    @app.exception_handler(BusyError)
    async def _(_request: Request, error: BusyError) -> JSONResponse:
        return _error(503, str(error), {"Retry-After": "1"})

    @app.exception_handler(HTTPException)
    async def _(_request: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, f"{error.detail}. Ask for {PLACE}, /health or /model.", error.headers)

    @app.exception_handler(torch.OutOfMemoryError)
    async def _(_request: Request, error: torch.OutOfMemoryError) -> JSONResponse:
        logger.error("%s", visible(error).splitlines()[0])
        return _error(
            503, "the device has too little memory. Ask for fewer images, or serve with a smaller --batch-size."
        )


def _error(status: int, text: str, headers: object = None) -> JSONResponse:
    return JSONResponse({"error": shorten(visible(text), 1000)}, status, headers=headers)  # type: ignore[arg-type]
