"""What can be asked (`asking`) and looked at (`looking`), and what both take from the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar, cast

import anyio
from fastapi import Depends, HTTPException, Request

from pipeline.web.served import Served

Result = TypeVar("Result")
MOST_WAITING = 8


async def _served(request: Request) -> Served:
    return cast(Served, request.app.state.serving.now)


async def _slowly(request: Request) -> Slowly:
    return Slowly(request.app.state.slow)


async def _drawing(request: Request) -> anyio.CapacityLimiter:
    return cast(anyio.CapacityLimiter, request.app.state.drawing)


class Slowly:
    """Runs what takes long, such as an encoder, in one thread of its own: what is quick never waits for it."""

    def __init__(self, limiter: anyio.CapacityLimiter) -> None:
        self._limiter = limiter

    async def __call__(self, call: Callable[[], Result]) -> Result:
        """What a call returns. Raises HTTPException (503) if many wait already, with what they have sent in memory."""
        if self._limiter.statistics().tasks_waiting >= MOST_WAITING:
            raise HTTPException(
                503, "too many questions that take long are waiting; ask again later", {"Retry-After": "5"}
            )
        return await anyio.to_thread.run_sync(call, limiter=self._limiter)


# The index that answers now, taken once a request.
Now = Annotated[Served, Depends(_served)]
InItsOwnThread = Annotated[Slowly, Depends(_slowly)]
# Pictures that are decoded at a time: one of fifty million pixels takes 800 MB.
Drawing = Annotated[anyio.CapacityLimiter, Depends(_drawing)]
