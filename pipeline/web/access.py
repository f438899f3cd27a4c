"""Who is answered: by the host that is asked for, by the page that asks, and by a token.

- **Hosts.** A page elsewhere can make its own name resolve to this machine (DNS rebinding), and its requests then come
  from a browser here, with that name as their host. Only hosts that are expected are answered. Addresses in digits
  cannot be rebound: where the service listens to others, those are expected too.
- **Origins.** A browser says which page sent a request. Only the service's own page is answered, but for a link that
  somebody follows to it.
- **Token.** By `Authorization: Bearer`, or by the session that the page got for it: pictures and clips are fetched by
  the browser itself, which sends a cookie and no header of ours. Both are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.requests import Request

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "medley_session"
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]\s]+))(?::\d{1,5})?")


def host_of(header: str) -> str:
    """The name in a Host header, without the port, in small letters; empty where it is none."""
    match = _HOST.fullmatch(header.strip())
    return "" if match is None else (match["six"] or match["name"]).lower().rstrip(".")


class Hosts:
    """The names under which the service is expected to be asked."""

    def __init__(self, host: str, further: Iterable[str], is_loopback: bool) -> None:
        """host: that it listens at. further: names given by hand."""
        own = () if is_loopback else (socket.gethostname(), socket.getfqdn())
        self._names = {name.lower().rstrip(".") for name in (*LOOPBACK, host, *own, *further)}
        self._digits = not is_loopback

    def check(self, request: Request) -> None:
        """Raises HTTPException (403) for another host, or a request that a page elsewhere sent."""
        header = request.headers.get("host", "")
        if not self._expects(host_of(header)):
            raise HTTPException(403, f"host {header[:80]}: not one that is answered; name it by --allow-host")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != header.strip().lower():
            raise HTTPException(403, "origin: a page elsewhere sent this, and only the service's own page is answered")
        site, mode = request.headers.get("sec-fetch-site"), request.headers.get("sec-fetch-mode")
        followed = mode == "navigate" and request.method == "GET"
        if site in ("cross-site", "same-site") and not followed:
            raise HTTPException(403, "origin: a page elsewhere sent this, and only the service's own page is answered")

    def _expects(self, name: str) -> bool:
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._digits


class Tokens:
    """The token that must be given, if any, and the sessions that stand for it until the service ends."""

    def __init__(self, token: str) -> None:
        """token: empty where none is asked for."""
        self.asked = bool(token)
        self._token = hashlib.sha256(token.encode()).digest()
        self._session = hmac.new(secrets.token_bytes(32), token.encode(), "sha256").hexdigest()

    @property
    def session(self) -> str:
        """The cookie of a page that has given the token."""
        return self._session

    def is_right(self, token: str) -> bool:
        """Whether this is the token."""
        given = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        return hmac.compare_digest(given, self._token)

    def check(self, request: Request) -> None:
        """Raises HTTPException (401) without the token or a session."""
        if not self.asked:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        session = request.cookies.get(COOKIE, "")
        by_header = scheme.lower() == "bearer" and self.is_right(token.strip())
        if not (by_header or hmac.compare_digest(session.encode(), self._session.encode())):
            sentence = "token: wrong or not given; send it as Authorization: Bearer TOKEN"
            raise HTTPException(401, sentence, {"WWW-Authenticate": "Bearer"})
