"""A published night whose model knows histories, and the service over it on a port of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from pipeline.serving import Index
from pipeline.web.served import Serving
from pipeline.web.server import server_of
from pipeline.web.settings import Settings
from tests.conftest import CsvRow, Shop, edit

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
TOKEN = "a token of some length"
Started = Callable[..., httpx.Client]


@pytest.fixture(scope="session")
def web_shop(published: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two published nights, `first` of a network and `graph` of sums; a title of the newer one tries to be markup."""

    def marked(rows: list[CsvRow]) -> list[CsvRow]:
        rows[7]["title"] = MARKUP
        return rows

    shop = published.copy(tmp_path_factory.mktemp("web") / "shop")
    edit(shop, marked)
    shop.run("graph", "-s", "train.model=graph")
    return shop


@pytest.fixture(scope="session")
def serving(web_shop: Shop) -> Serving:
    return Serving(Settings(web_shop.workspace))


@pytest.fixture(scope="session")
def index(web_shop: Shop) -> Index:
    return Index.open(web_shop.workspace)


@contextmanager
def answering(serving: Serving, settings: Settings) -> Iterator[str]:
    """The service's address; it listens in a thread."""
    with replace(settings, port=0).listen() as listening:
        port = listening.getsockname()[1]
        server = server_of(serving, settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="session")
def address(serving: Serving, web_shop: Shop) -> Iterator[str]:
    """Of a service whose rate no test reaches."""
    with answering(serving, Settings(web_shop.workspace, rate="100000/second")) as url:
        yield url


@pytest.fixture(scope="session")
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as asking:
        yield asking


@pytest.fixture
def started(serving: Serving, web_shop: Shop) -> Iterator[Started]:
    """Starts a service of other settings, and returns a client of it."""
    with ExitStack() as stack:

        def start(**settings: object) -> httpx.Client:
            given = Settings(web_shop.workspace, **settings)  # type: ignore[arg-type]
            url = stack.enter_context(answering(serving, given))
            return stack.enter_context(httpx.Client(base_url=url, timeout=60, trust_env=False))

        yield start


@pytest.fixture(scope="session")
def sleeve(web_shop: Shop, index: Index) -> tuple[str, Path]:
    """An item, and its picture's file."""
    return _medium(web_shop, index, "image")


@pytest.fixture(scope="session")
def recording(web_shop: Shop, index: Index) -> tuple[str, Path]:
    """An item, and its clip's file."""
    return _medium(web_shop, index, "audio")


def _medium(shop: Shop, index: Index, name: str) -> tuple[str, Path]:
    table = index.published.items(["item_id", name, "has_content"]).to_pylist()
    usable = [(row["item_id"], shop.folder / row[name]) for row in table if row[name] and row["has_content"]]
    return next((item, path) for item, path in usable if path.is_file() and path.stat().st_size > 2000)
