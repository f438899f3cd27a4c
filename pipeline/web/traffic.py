"""How much and how often a client may ask: bytes of a request, and requests in a time."""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from pipeline.errors import ConfigError

# A page of cards fetches a picture for each.
MEDIA_A_QUESTION = 20
RATE = "--rate {}: write a number and a time, such as 120/minute or 5/second"


def rate_of(written: str) -> RateLimitItem:
    """A rate such as `120/minute`. Raises ConfigError if it is none."""
    try:
        rate = parse(written)
    except ValueError:
        raise ConfigError(RATE.format(written)) from None
    if rate.amount < 1 or rate.multiples < 1:
        raise ConfigError(RATE.format(written))
    return rate


class Rates:
    """Questions of one address within a moving window; pictures and clips have a window of their own."""

    def __init__(self, rate: str) -> None:
        """rate: such as `120/minute`. Raises ConfigError if it is none."""
        allowed = self._questions = rate_of(rate)
        self._media = type(allowed)(MEDIA_A_QUESTION * allowed.amount, allowed.multiples, namespace="media")
        self._windows = MovingWindowRateLimiter(MemoryStorage())

    def check(self, request: Request, is_media: bool) -> None:
        """Counts a request. Raises HTTPException (429), with the seconds to wait, if it is one too many."""
        rate = self._media if is_media else self._questions
        client = request.client.host if request.client else ""
        if self._windows.hit(rate, client):
            return
        reset = self._windows.get_window_stats(rate, client).reset_time
        seconds = max(1, math.ceil(reset - time.time()))
        raise HTTPException(
            429, f"too many requests: {rate} is the limit; ask again in {seconds} s", {"Retry-After": str(seconds)}
        )


def counted(request: Request, receive: Receive, most: int) -> Receive:
    """Receives a body of so many bytes at most; what is above is not read.

    Raises HTTPException (413) at once where the header says more, and while it is received where more comes.
    """
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > most:
        raise too_large(most)
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise too_large(most)
        return message

    return bounded


def too_large(most: int) -> HTTPException:
    """What is said of a body above the limit."""
    return HTTPException(413, f"upload: over the limit of {most} bytes; send a smaller file", {"Connection": "close"})
