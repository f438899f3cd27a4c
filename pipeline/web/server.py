"""Listens, and answers until it is told to end."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from pipeline.web.app import make_app
from pipeline.web.served import Serving
from pipeline.web.settings import Settings

log = logging.getLogger("medley")
# Requests that are being answered when it is told to end have so long.
GRACE_SECONDS = 5
MOST_CONNECTIONS = 512


class _Server(uvicorn.Server):
    """Ends well on Ctrl-C and SIGTERM: uvicorn's own would raise the signal again when all is done."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def server_of(serving: Serving, settings: Settings) -> uvicorn.Server:
    """What answers on a socket that it is given. Raises ConfigError if the rate is none."""
    config = uvicorn.Config(
        make_app(serving, settings),
        log_config=None,
        # It bounds what a request may send before its headers end, which httptools does not.
        http="h11",
        access_log=False,
        server_header=False,
        # A header that anybody can send is no address: rates would go by it.
        proxy_headers=False,
        ws="none",
        lifespan="off",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return _Server(config)


def serve(settings: Settings, listening: socket.socket) -> int:
    """Answers on a socket until Ctrl-C or SIGTERM; returns how many requests were answered.

    Raises WorkspaceError if nothing is published.
    """
    serving = Serving(settings)
    server = server_of(serving, settings)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("serve      http://%s:%d answers from index %s; Ctrl-C ends it", shown, port, serving.now.about.index)
    serving.keep_fresh()
    try:
        server.run(sockets=[listening])
    finally:
        serving.end()
    return server.server_state.total_requests
