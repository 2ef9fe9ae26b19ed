"""The page and what it calls, over HTTP: for this machine's browser, and for no other page that is open in it."""

from functools import partial
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from pydantic import ValidationError
from starlette.types import Scope

from pipelines.explore.recipe import Download, Recipe, Search, Surroundings, Walk
from pipelines.explore.streams import as_json, report_lines, tell
from pipelines.explore.studio import Studio
from pipelines.listening import Guard, headers_of
from stylegan.exit_codes import is_expected
from stylegan.text import visible

MAX_BODY = 64 * 2**20  # bytes of a request, of which an image file is the largest
# The page holds all that it needs; the browser is told to fetch nothing from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "media-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
LINES = "application/x-ndjson"


class PageGuard(Guard):
    """Also refuses what any other page sends, and bodies that are too large or of unknown size."""

    def find_refusal(self, scope: Scope) -> tuple[str, int] | None:
        """As Guard's"""
        if refusal := super().find_refusal(scope):
            return refusal
        headers = headers_of(scope)
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers.get("host", ""):
            return f"a page of {origin} may not use this server.", 403
        length = headers.get("content-length", "0" if scope["method"] in ("GET", "HEAD") else "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return (
                f"the request has more than {MAX_BODY:,} bytes, or does not say how many. Make the file smaller.",
                413,
            )
        return None


def error_response(message: str, status: int) -> Response:
    """One line for the page to show"""
    return Response(as_json({"error": visible(message)}), status, media_type="application/json")


def build_app(studio: Studio, page: str, *, is_private: bool) -> FastAPI:
    """The server's routes over one generator; is_private: as for Guard"""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(PageGuard, is_private=is_private)
    app.exception_handlers |= dict.fromkeys((RequestValidationError, ValidationError), _refuse_request)
    app.exception_handlers |= dict.fromkeys((ValueError, OSError, Exception), _fail)

    @app.get("/")
    def show() -> HTMLResponse:
        return HTMLResponse(
            page,
            headers={
                "content-security-policy": POLICY,
                "x-content-type-options": "nosniff",
                "cache-control": "no-store",
            },
        )

    @app.post("/draw")
    def draw(asked: Recipe) -> Response:
        return _json(studio.draw(asked))

    @app.post("/strengths")
    def strengths(asked: Recipe) -> Response:
        return _json(studio.strengths(asked.class_index, asked.layers))

    @app.post("/near")
    def near(asked: Surroundings) -> Response:
        return _json(studio.surround(asked))

    @app.post("/styles")
    def save(asked: Download) -> Response:
        return Response(studio.save(asked), media_type="application/octet-stream")

    @app.post("/walk")
    def walk(asked: Walk) -> StreamingResponse:
        return StreamingResponse(report_lines(partial(studio.walk, asked)), media_type=LINES)

    @app.post("/project")
    async def project(
        request: Request, space: str, num_steps: int, name: str = "image",
        class_index: Annotated[int | None, Query()] = None,
    ) -> StreamingResponse:  # fmt: skip
        asked = Search.model_validate({"space": space, "num_steps": num_steps, "class_index": class_index})
        content = await request.body()
        work = partial(studio.search, content, visible(name)[:200], asked)
        return StreamingResponse(report_lines(work), media_type=LINES)

    return app


def _json(value: object) -> Response:
    return Response(as_json(value), media_type="application/json")


def _refuse_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError | ValidationError)
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"] if part != "body")
    return error_response(f"{place}: {problem['msg'][:1].lower()}{problem['msg'][1:]}", 422)


def _fail(request: Request, error: Exception) -> Response:
    return error_response(tell(error), 400 if is_expected(error) else 500)
