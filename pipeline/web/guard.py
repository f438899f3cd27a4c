"""Around the whole application: every request is held against who may ask and how much, every answer gets its headers.

What is refused here costs nothing: it is said before a byte of the body is read.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.web.access import Hosts, Tokens
from pipeline.web.settings import MAX_QUESTION_BYTES
from pipeline.web.traffic import Rates, counted

log = logging.getLogger("medley")
# Nothing from elsewhere, nothing inline: a script in a title would not run, even if it became markup.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
}
# Below here is what the index says; the page, its files and the description of the service are no secret.
DATA, MEDIA, UPLOADS = "/api/", ("/api/picture", "/api/clip"), ("/api/search",)
# Who asks for a session has none yet.
WITHOUT_TOKEN = ("/api/session",)


def refused(error: HTTPException) -> JSONResponse:
    """A refusal as one sentence."""
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


@dataclass(frozen=True)
class Guard:
    """See above."""

    app: ASGIApp
    hosts: Hosts
    tokens: Tokens
    rates: Rates
    max_upload_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = Request(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            self._check(request)
            most = self.max_upload_bytes if scope["path"] in UPLOADS else MAX_QUESTION_BYTES
            bounded = counted(request, receive, most)
        except HTTPException as error:
            return await refused(error)(scope, receive, with_headers)
        try:
            await self.app(scope, bounded, with_headers)
        except Exception:
            # The application has answered that there was a fault; raised further, it would cost the connection too.
            log.exception("serve      %s", scope["path"])

    def _check(self, request: Request) -> None:
        self.hosts.check(request)
        path = str(request.scope["path"])
        if path.startswith(DATA):
            self.rates.check(request, path in MEDIA)
            if path not in WITHOUT_TOKEN:
                self.tokens.check(request)
