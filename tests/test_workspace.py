from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import WorkspaceError
from pipeline.storage.documents import Json
from pipeline.storage.files import sha256_of
from pipeline.workspace import Workspace, digest


def write_one(folder: Path) -> Json:
    (folder / "a.txt").write_text("a")
    return {"rows": 1}


def test_a_digest_depends_on_values_and_not_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [b"\x01"]}) == digest({"b": [b"\x01"], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_a_committed_folder_names_every_file_with_its_sha256(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.commit_folder("fused", "x", write_one)
    found = workspace.artefact("fused/x")
    assert found is not None
    assert found.files == {"fused/x/a.txt": sha256_of(tmp_path / "fused/x/a.txt")}
    assert found.details == {"rows": 1}


def test_the_same_content_gets_the_same_name(tmp_path: Path) -> None:
    one = Workspace(tmp_path / "1").commit_folder("staged", None, write_one)
    two = Workspace(tmp_path / "2").commit_folder("staged", None, write_one)
    assert one.path == two.path


def test_a_build_that_fails_leaves_no_artefact_and_no_temporary_file(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def fail(folder: Path) -> Json:
        (folder / "half").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        workspace.commit_folder("fused", "x", fail)
    assert workspace.artefact("fused/x") is None
    assert list((tmp_path / ".tmp").iterdir()) == []


@pytest.mark.parametrize("damage", ["a.txt", "receipt.json"])
@pytest.mark.parametrize("text", [None, "", "[]", '{"files": 3}'])
def test_an_artefact_whose_file_is_gone_or_cut_is_made_again(tmp_path: Path, damage: str, text: str | None) -> None:
    workspace = Workspace(tmp_path)
    workspace.commit_folder("fused", "x", write_one)
    file = tmp_path / "fused/x" / damage
    file.unlink() if text is None else file.write_text(text)
    assert workspace.artefact("fused/x") is None
    workspace.commit_folder("fused", "x", write_one)
    assert workspace.artefact("fused/x") is not None


def test_a_folder_made_again_never_loses_a_name_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    workspace.commit_folder("index", "x", write_one)
    (tmp_path / "index/x/a.txt").write_text("damaged")
    replaced: list[str] = []

    def replace(source: Path, target: Path) -> None:
        assert (tmp_path / "index/x/a.txt").exists()
        replaced.append(Path(target).name)
        Path(source).rename(target)

    monkeypatch.setattr("pipeline.workspace.os.replace", replace)
    workspace.commit_folder("index", "x", write_one)
    assert replaced == ["a.txt"]
    assert (tmp_path / "index/x/a.txt").read_text() == "a"


def test_one_file_is_an_artefact_once_its_receipt_lies_beside_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)

    def build(path: Path) -> Json:
        path.write_text("shard")
        return {"rows": 3}

    workspace.commit_file("embeddings/text/k/bucket-00000-abc.parquet", build)
    found = workspace.artefact("embeddings/text/k/bucket-00000-abc.parquet")
    assert found is not None
    assert found.digest == "abc"
    (tmp_path / "embeddings/text/k/bucket-00000-abc.json").unlink()
    assert workspace.artefact("embeddings/text/k/bucket-00000-abc.parquet") is None


def test_an_unknown_store_and_a_file_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no store of this kind"):
        Workspace("hdfs://bucket/prefix")
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="give a folder that can be written"):
        Workspace(tmp_path / "file")


def test_a_file_is_named_as_its_build_says_once_it_is_known(tmp_path: Path) -> None:
    def build(path: Path) -> Json:
        path.write_text("half")
        return {"rows": 1, "name": "bucket-1-failed.parquet"}

    workspace = Workspace(tmp_path)
    artefact = workspace.commit_file("embeddings/bucket-1-whole.parquet", build)
    assert (artefact.path, artefact.details) == ("embeddings/bucket-1-failed.parquet", {"rows": 1})
    assert workspace.artefact("embeddings/bucket-1-failed.parquet") == artefact
    assert workspace.artefact("embeddings/bucket-1-whole.parquet") is None
