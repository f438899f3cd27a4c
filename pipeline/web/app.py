"""Routes, errors and the page's files as one application, with the guard around it."""

from __future__ import annotations

import logging
from importlib.resources import files
from typing import Any

import anyio
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from pipeline import __version__
from pipeline.errors import ConfigError, MediaError, MedleyError, NotPublished
from pipeline.web.access import Hosts, Tokens
from pipeline.web.answers import Refusal
from pipeline.web.guard import Guard, refused
from pipeline.web.routes import asking, looking
from pipeline.web.served import Serving
from pipeline.web.settings import Settings
from pipeline.web.traffic import Rates

log = logging.getLogger("medley")
ABOUT = (
    "Asks the index that a workspace has published. For trying out, demos and light internal use; a service with "
    "traffic asks `pipeline.serving.Index` itself, or what `medley export` writes."
)
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "a wrong question, or a file that cannot be read"},
    401: {"model": Refusal, "description": "the token is wrong or missing"},
    403: {"model": Refusal, "description": "asked by another host's name, or by a page elsewhere"},
    404: {
        "model": Refusal,
        "description": "no such user or item in the published index, or it lacks what is asked for",
    },
    413: {"model": Refusal, "description": "an upload above the limit"},
    422: {"model": Refusal, "description": "a value that is missing, of another type, or out of range"},
    429: {"model": Refusal, "description": "too many requests; `Retry-After` says for how many seconds to wait"},
    500: {"model": Refusal, "description": "a fault here; the log has it"},
    503: {"model": Refusal, "description": "what the answer needs is not here: weights, or a file of the workspace"},
}
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
PAGES = {"/": "index.html", "/docs": "docs.html"}


def make_app(serving: Serving, settings: Settings) -> Guard:
    """The application. Raises ConfigError if the rate is none."""
    app = FastAPI(
        title="Medley",
        version=__version__,
        description=ABOUT,
        # What FastAPI would show comes from elsewhere, and nothing here does.
        docs_url=None,
        redoc_url=None,
        responses=REFUSALS,
        generate_unique_id_function=_operation,
    )
    tokens = Tokens(settings.token)
    app.state.serving, app.state.tokens, app.state.slow = serving, tokens, anyio.CapacityLimiter(1)
    app.state.drawing = anyio.CapacityLimiter(2)
    app.include_router(asking.router)
    app.include_router(looking.router)
    _add_files(app)
    app.add_exception_handler(MedleyError, _said)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _faulty)
    hosts = Hosts(settings.host, settings.hosts, settings.is_loopback)
    return Guard(app, hosts, tokens, Rates(settings.rate), settings.max_upload_bytes)


def _operation(route: APIRoute) -> str:
    return route.name


def _add_files(app: FastAPI) -> None:
    """The page's files by their names, which are read now: a path that is asked for opens nothing."""
    folder = files("pipeline.web").joinpath("static")
    held = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}
    # The report's look is the page's.
    held["report.css"] = files("pipeline.report").joinpath("style.css").read_bytes()

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        if name not in held:
            raise HTTPException(404, "there is no such page")
        return _file(name, held[name])

    for path, name in PAGES.items():
        app.add_api_route(path, _page(name, held[name]), include_in_schema=False)


def _page(name: str, content: bytes) -> Any:
    async def page() -> Response:
        return _file(name, content)

    return page


def _file(name: str, content: bytes) -> Response:
    kind = KINDS.get(name.rpartition(".")[2], "application/octet-stream")
    return Response(content, media_type=f"{kind}; charset=utf-8", headers={"cache-control": "no-cache"})


def _status(error: MedleyError) -> int:
    if isinstance(error, NotPublished):
        return 404
    return 400 if isinstance(error, ConfigError | MediaError) else 503


async def _said(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MedleyError)
    if (status := _status(error)) == 503:
        log.warning("serve      %s: %s", request.scope["path"], error)
    return refused(HTTPException(status, str(error)))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    if fault["type"] == "json_invalid":
        sentence = f"the request: no JSON ({fault['ctx']['error']}, at character {fault['loc'][-1]})"
    else:
        place = ".".join(str(part) for part in fault["loc"] if part not in ("body", "query")) or "the request"
        sentence = f"{place}: {fault['msg']}"
    return refused(HTTPException(422, sentence))


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and error.detail == "Not Found":
        error = HTTPException(404, "there is no such page; / is the page, /docs says what can be asked")
    return refused(error)


async def _faulty(request: Request, error: Exception) -> JSONResponse:
    return refused(HTTPException(500, "a fault here, not in the question; the service's log has it"))
