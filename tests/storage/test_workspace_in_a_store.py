from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import WorkspaceError
from pipeline.storage import store as stores
from pipeline.storage.documents import Json
from pipeline.storage.files import sha256_of
from pipeline.workspace import RECEIPT, Artefact, Workspace
from tests.storage.conftest import Machine
from tests.storage.server import SECRET, Server

LARGE = stores.PART_BYTES + 17
SHARD = "embeddings/text/key/bucket-00000-abc.parquet"


def folder_of(*names: str, size: int = 10) -> Callable[[Path], Json]:
    def build(folder: Path) -> Json:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((name.encode() * size)[:size])
        return {"rows": len(names)}

    return build


def file_of(text: str) -> Callable[[Path], Json]:
    def build(path: Path) -> Json:
        path.write_text(text)
        return {"rows": 1}

    return build


def keys(address: str) -> list[str]:
    return sorted(stores.Store(address, Path()).entries())


def test_what_one_machine_commits_another_one_reads_byte_for_byte(address: str, machine: Machine) -> None:
    machine("a")
    first = Workspace(address)
    folder = first.commit_folder("models", "abc", folder_of("big.npy", "sub/empty", "ü b%20.bin", size=LARGE))
    file = first.commit_file(SHARD, file_of("vectors"))
    first.write_json("runs/2026.01.01/steps/train.json", {"rows": 3})
    here = {name: sha256_of(first.root / name) for name in (*folder.files, *file.files)}

    cache = machine("b")
    second = Workspace(address)
    found = second.artefact("models/abc")
    assert found == folder
    assert second.artefact(SHARD) == file
    assert not list(cache.rglob("big.npy")), "an artefact that is only asked for is not fetched"
    second.path("models/abc"), second.path(SHARD)
    assert {name: sha256_of(second.root / name) for name in here} == here
    assert second.read_json("runs/2026.01.01/steps/train.json") == {"rows": 3}
    assert second.artefact("models/other") is None
    assert second.path("models/other").exists() is False


def test_a_folder_counts_only_once_its_receipt_is_there_and_the_next_try_ends_it(
    address: str, machine: Machine, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "RETRY_SECONDS", 0)
    machine("a")
    server.fails = lambda _, method, path: method == "PUT" and path.endswith(RECEIPT)
    with pytest.raises(WorkspaceError, match="cannot be written"):
        Workspace(address).commit_folder("models", "abc", folder_of("one", "two"))
    server.fails = lambda *_: False
    assert keys(address) == ["models/abc/one", "models/abc/two"]
    for name in ("b", "a"):
        machine(name)
        assert Workspace(address).artefact("models/abc") is None
    Workspace(address).commit_folder("models", "abc", folder_of("one", "two"))
    machine("b")
    assert Workspace(address).artefact("models/abc") is not None
    written = [path.rpartition("/")[2] for method, path in server.requested if method == "PUT"]
    assert written[-1] == RECEIPT


def test_a_store_that_answers_500_and_slowly_gives_the_same(address: str, machine: Machine, server: Server) -> None:
    machine("a")
    server.fails = lambda number, *_: number % 2 == 0
    server.delay_seconds = 0.02
    committed = Workspace(address).commit_folder("models", "abc", folder_of(*map(str, range(5)), size=LARGE))
    machine("b")
    workspace = Workspace(address)
    workspace.path("models/abc")
    assert {name: sha256_of(workspace.root / name) for name in committed.files} == committed.files


def test_of_two_who_replace_a_file_one_is_refused(address: str, machine: Machine) -> None:
    machine("a")
    first = Workspace(address)
    assert first.replace_json("CURRENT.json", {"run_id": "0"}, None)
    assert not first.replace_json("CURRENT.json", {"run_id": "9"}, None)
    before = first.read_json("CURRENT.json")
    machine("b")
    second = Workspace(address)
    assert second.read_json("CURRENT.json") == before
    assert second.replace_json("CURRENT.json", {"run_id": "2"}, before)
    assert not first.replace_json("CURRENT.json", {"run_id": "1"}, before)
    machine("c")
    assert Workspace(address).read_json("CURRENT.json") == {"run_id": "2"}


def test_a_broken_file_is_replaced_as_if_it_were_not_there(address: str, machine: Machine) -> None:
    machine("a")
    assert stores.Store(address, Path()).create("CURRENT.json", b'{"run_id": ')
    assert not Workspace(address).replace_json("CURRENT.json", {"run_id": "1"}, {"run_id": "0"})
    assert Workspace(address).replace_json("CURRENT.json", {"run_id": "1"}, None)
    assert Workspace(address).read_json("CURRENT.json") == {"run_id": "1"}


def test_a_write_whose_answer_is_lost_counts_as_done(address: str, machine: Machine, server: Server) -> None:
    machine("a")
    lost: list[str] = []

    def loses(method: str, path: str) -> bool:
        if method == "PUT" and path.endswith("CURRENT.json") and len(lost) < 1:
            lost.append(path)
            return True
        return False

    workspace = Workspace(address)
    for before, after in ((None, {"run_id": "1"}), ({"run_id": "1"}, {"run_id": "2"})):
        lost.clear()
        server.loses = loses
        assert workspace.replace_json("CURRENT.json", after, before)
        assert lost
    assert workspace.read_json("CURRENT.json") == {"run_id": "2"}


@pytest.mark.parametrize("shared", [True, False])
def test_of_many_who_come_first_one_does(shared: bool, address: str, machine: Machine, tmp_path: Path) -> None:
    machine("a")
    workspace = Workspace(address if shared else tmp_path / "local")
    with ThreadPoolExecutor(8) as pool:
        came_first = list(pool.map(lambda n: workspace.create_json("staged/layout.json", {"buckets": n}), range(8)))
    assert sum(came_first) == 1
    assert workspace.read_json("staged/layout.json") == {"buckets": came_first.index(True)}


def test_a_document_that_changes_within_a_second_is_read_anew(address: str, machine: Machine) -> None:
    machine("b")
    Workspace(address).write_json("runs/one/steps/train.json", {"rows": 1})
    machine("a")
    assert Workspace(address).read_json("runs/one/steps/train.json") == {"rows": 1}
    machine("b")
    Workspace(address).write_json("runs/one/steps/train.json", {"rows": 2})
    machine("a")
    assert Workspace(address).read_json("runs/one/steps/train.json") == {"rows": 2}


def test_a_file_that_is_cut_off_here_is_fetched_again(address: str, machine: Machine) -> None:
    machine("a")
    workspace = Workspace(address)
    workspace.commit_folder("models", "abc", folder_of("one"))
    (workspace.root / "models/abc/one").write_text("one")
    machine("a")
    workspace = Workspace(address)
    assert workspace.path("models/abc/one").read_bytes() == (b"one" * 10)[:10]


def test_what_is_listed_and_removed_is_what_a_folder_would_say(address: str, machine: Machine, tmp_path: Path) -> None:
    machine("a")
    told = []
    for place in (address, tmp_path / "local"):
        workspace = Workspace(place)
        for name in ("abc", "def"):
            workspace.commit_folder("models", name, folder_of("one", "two"))
        workspace.commit_file(SHARD, file_of("x"))
        workspace.write_json("runs/2026.1/run.json", {"run_id": "2026.1"})
        (workspace.root / "media/image/ab").mkdir(parents=True)
        (workspace.root / "media/image/ab/abcd").write_text("picture")
        workspace.share("media/image")
        patterns = ("models/*", "embeddings/*/*/*.parquet", "runs/*/run.json", "media/*/*/*", "index/*")
        moments = workspace.changed(*patterns)
        assert all(abs(moment - time.time()) < 60 for moment in moments.values())
        freed = [workspace.remove(path) for path in ("models/abc", SHARD, "runs/2026.1", "media/image/ab/abcd")]
        assert not (workspace.root / "models/abc").is_dir() or not list((workspace.root / "models/abc").iterdir())
        told.append((sorted(moments), sorted(workspace.changed(*patterns)), freed[1:]))
    assert told[0] == told[1]
    assert keys(address) == ["models/def/one", "models/def/receipt.json", "models/def/two"]


def test_a_touched_artefact_counts_as_changed_now(address: str, machine: Machine) -> None:
    machine("a")
    workspace = Workspace(address)
    workspace.commit_folder("index", "abc", folder_of("one"))
    before = workspace.changed("index/*")["index/abc"]
    time.sleep(2.1)  # times there are whole seconds, and their fractions are of ETags
    workspace.touch("index/abc")
    assert Workspace(address).changed("index/*")["index/abc"] >= before + 1


def test_what_the_store_has_lost_goes_here_too_after_a_day(
    address: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = machine("a")
    Workspace(address).commit_folder("models", "abc", folder_of("one"))
    machine("b")
    Workspace(address).remove("models/abc")
    machine("a")
    Workspace(address)
    assert list(cache.rglob("one")), "it may be in use"
    monkeypatch.setattr(stores, "FORGET_SECONDS", -1)
    Workspace(address)
    assert not list(cache.rglob("one"))


def test_no_store_and_a_wrong_bucket_are_one_sentence_without_the_secret(
    address: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "RETRY_SECONDS", 0)
    machine("a")
    with pytest.raises(WorkspaceError, match="cannot be") as refused:
        Workspace("s3://no-such-bucket-of-ours/night").write_json("runs/one/run.json", {})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    machine("b")
    with pytest.raises(WorkspaceError, match=f"{address} cannot be") as dead:
        Workspace(address).artefact("models/abc")
    for error in (refused, dead):
        text = str(error.value)
        assert SECRET not in text
        assert "\n" not in text
        assert "endpoint and credentials" in text


def test_a_receipt_of_here_alone_is_none(address: str, machine: Machine) -> None:
    """What a machine could not push is not there for others, so it is not there for itself."""
    machine("a")
    workspace = Workspace(address)
    local: Artefact = Workspace(workspace.root.parent / "other").commit_folder("models", "abc", folder_of("one"))
    for name in (*local.files, "models/abc/receipt.json"):
        target = workspace.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((workspace.root.parent / "other" / name).read_bytes())
    assert Workspace(address).artefact("models/abc") is None
