"""What can be asked (`asking`) and looked at (`looking`), and what both take from the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar, cast

import anyio
from fastapi import Depends, Request

from pipeline.web.served import Served

Result = TypeVar("Result")


async def _served(request: Request) -> Served:
    return cast(Served, request.app.state.serving.now)


async def _slowly(request: Request) -> Slowly:
    return Slowly(request.app.state.slow)


class Slowly:
    """Runs what takes long, such as an encoder, in one thread of its own: what is quick never waits for it."""

    def __init__(self, limiter: anyio.CapacityLimiter) -> None:
        self._limiter = limiter

    async def __call__(self, call: Callable[[], Result]) -> Result:
        """What a call returns."""
        return await anyio.to_thread.run_sync(call, limiter=self._limiter)


# The index that answers now, taken once a request.
Now = Annotated[Served, Depends(_served)]
InItsOwnThread = Annotated[Slowly, Depends(_slowly)]
