"""The verb that answers questions to what is published until it is told to end."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

from pipeline.cli.verb import Answer, WorkspaceFolder, verb

log = logging.getLogger("medley")


@verb()
def serve(
    workspace: WorkspaceFolder,
    host: Annotated[
        str, typer.Option(help="the address it listens at; others than loopback need a token")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8765,
    refresh_seconds: Annotated[float, typer.Option(min=0.1, help="how often it looks for a newer index")] = 60,
    max_upload_bytes: Annotated[int, typer.Option(min=1, help="a search with its files takes no more")] = 20_000_000,
    rate: Annotated[str, typer.Option(help="questions of one address, such as 5/second")] = "120/minute",
    allow_host: Annotated[list[str] | None, typer.Option(help="a further name it is asked by; repeatable")] = None,
) -> Answer:
    """Answer questions to the published index over HTTP, with a page to try it, until Ctrl-C."""
    from pipeline.web.settings import TOKEN_VARIABLE, Settings

    log.setLevel(logging.INFO)
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    settings = Settings(workspace, host, port, refresh_seconds, max_upload_bytes, rate, tuple(allow_host or ()), token)
    settings.check()
    with settings.listen() as listening:
        from pipeline.config import Config
        from pipeline.runtime import arrow_without_pandas, limit_threads, threads

        limit_threads(threads(Config()))
        arrow_without_pandas()
        from pipeline.web.server import serve as answer

        requests = answer(settings, listening)
    return {"requests": requests}, f"ended; {requests} requests were answered"
