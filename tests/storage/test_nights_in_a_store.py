from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.storage import store as stores
from pipeline.storage.documents import Json
from tests.conftest import AS_OF, CsvRow, Shop, edit, manifest, medley
from tests.storage.conftest import Machine
from tests.storage.server import SECRET, Server

MEDIA = ("sleeves", "clips")


def stored(address: str, name: str) -> bytes:
    store = stores.Store(address, Path())
    entry = store.entry(name)
    assert entry is not None
    return store.read(name, 0, entry.size)


def noted(address: str, name: str) -> Json:
    """A document of a store."""
    document: Json = json.loads(stored(address, name))
    return document


def keys(address: str) -> set[str]:
    return set(stores.Store(address, Path()).entries())


def upload(folder: Path, address: str) -> None:
    store = stores.Store(address, folder)
    files = (path for name in MEDIA for path in (folder / name).rglob("*") if path.is_file())
    store.push([path.relative_to(folder).as_posix() for path in files])


def reissued(rows: list[CsvRow]) -> list[CsvRow]:
    """One item in twenty has another text."""
    return [{**row, "blurb": row["blurb"] + " Reissued."} if n % 20 == 0 else row for n, row in enumerate(rows)]


@pytest.mark.slow
def test_nights_in_a_store_are_those_in_a_folder_to_the_byte(
    published: Shop, shop: Shop, address: str, machine: Machine, server: Server, tmp_path: Path
) -> None:
    """Workspace and media there, the tables here. Each night is of a machine that has nothing of the ones before."""
    own = shop.copy(tmp_path / "shop")
    media, workspace = f"{address}/media", f"{address}/workspace"
    upload(own.folder, media)
    place = ("-s", f"workspace={workspace}", "-s", f"source.media_root={media}")
    server.fails = lambda number, *_: number % 50 == 0
    machine("a")
    first = own.run("first", *place)
    named = noted(workspace, "runs/first/manifest.json")["artefacts"]
    assert named == manifest(published.workspace, "first")["artefacts"]
    assert named.keys() <= keys(workspace)
    assert "runs/first/report.html" in keys(workspace)

    cache = machine("consumer")
    assert json.loads(medley("status", "-w", workspace, "--json").stdout)["run_id"] == "first"
    users = json.loads(medley("lookup", "-w", published.workspace, "--user", "buyer-0001", "--json", status=0).stdout)
    assert json.loads(medley("lookup", "-w", workspace, "--user", "buyer-0001", "--json").stdout) == users
    assert not list(cache.rglob("models")), "a consumer fetches what is published, and no more"
    explained = [
        medley("explain", "-w", where, "--user", "buyer-0001", "--item", users["hits"][0]["item_id"]).stdout
        for where in (published.workspace, workspace)
    ]
    assert explained[0] == explained[1]

    # The same again, elsewhere: nothing is computed, and no clip is read.
    machine("b")
    server.requested.clear()
    again = own.run("again", *place)
    steps = noted(workspace, "runs/again/manifest.json")["steps"]
    assert [name for name, step in steps.items() if not step["skipped"]] == ["ingest", "publish"]
    assert not [path for method, path in server.requested if method == "GET" and f"/{MEDIA[1]}/" in path]

    # A night with a change, on a third machine, and in the folder.
    local = published.copy(tmp_path / "local")
    for each in (own, local):
        edit(each, reissued)
    machine("c")
    planned = medley("plan", "-c", own.config, *place, "--as-of", AS_OF).stdout
    assert "extract.text" in planned
    changed = own.run("changed", *place)
    local.run("changed")
    there = noted(workspace, "runs/changed/manifest.json")
    here = manifest(local.workspace, "changed")
    assert there["artefacts"] == here["artefacts"]
    assert {name: step["encoded_rows"] for name, step in there["steps"].items()} == {
        name: step["encoded_rows"] for name, step in here["steps"].items()
    }
    assert SECRET not in "".join(done.stdout + done.stderr for done in (first, again, changed))
    texts = [name for name in keys(workspace) if name.endswith((".json", ".html"))]
    assert not [name for name in texts if SECRET.encode() in stored(workspace, name)]

    machine("d")
    medley("rollback", "-w", workspace)
    assert noted(workspace, "CURRENT.json")["rolled_back_from"] == "changed"
    shutil.rmtree(own.folder)
