"""A server of S3's protocol in this process, which can fail, be slow, and lose its answers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

KEY, SECRET = "key-of-a-test", "secret-of-a-test"


@dataclass
class Server:
    """What the server does to requests, and what it was asked.

    fails: of a request's number, method and path, whether it is answered 500 and not done. loses: whether it is done
    and then answered 500. delay_seconds: before each answer. requested: the methods and paths so far.
    """

    url: str = ""
    fails: Callable[[int, str, str], bool] = lambda *_: False
    loses: Callable[[str, str], bool] = lambda *_: False
    delay_seconds: float = 0.0
    requested: list[tuple[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to ask it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
        }

    def bucket(self, name: str) -> str:
        """Makes a bucket, and returns its address."""
        credentials = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=self.url, **credentials).create_bucket(Bucket=name)
        return f"s3://{name}"

    def application(self, inner: Any) -> Callable[..., Iterable[bytes]]:
        """The server's application around another one."""

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
            with self._lock:
                self.requested.append((method, path))
                number = len(self.requested)
            if self.delay_seconds:
                time.sleep(self.delay_seconds)
            if self.fails(number, method, path):
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start("500 Internal Server Error", [("Content-Length", "0")])
                return [b""]
            if self.loses(method, path):
                list(inner(environ, lambda *_: None))
                start("500 Internal Server Error", [("Content-Length", "0")])
                return [b""]
            return inner(environ, start)  # type: ignore[no-any-return]

        return answer


@contextmanager
def serving() -> Iterator[Server]:
    """A server, as long as this lasts."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = Server()
    http = make_server(
        "127.0.0.1", 0, server.application(DomainDispatcherApplication(create_backend_app)), threaded=True
    )
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
