"""The index as a class: against brute force, under damage, and while others are published below it."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts import verified
from pipeline.artefacts.published import CONTENT, ENCODERS, ITEMS, LISTS, RECOMMEND, USERS, WITHOUT_LIST, list_schema
from pipeline.artefacts.staged import Staged
from pipeline.artefacts.vectors import vector_column, write_groups
from pipeline.artefacts.verified import write_blocks
from pipeline.errors import ConfigError, ShardCorrupt, WorkspaceError
from pipeline.indexing.clusters import Indexed, exact_index
from pipeline.indexing.graph import graph_index
from pipeline.indexing.searched import Passing, Searched
from pipeline.serving import Choice, Index
from pipeline.workspace import CARD
from tests.conftest import AS_OF, Shop, python
from tests.indexes import cells_of
from tests.receipts import write_receipt

ITEM_COUNT, USER_COUNT, WIDTH, LISTED = 6000, 40, 16, 5
GENRES = ["jazz", "soul", "samba", None]
KINDS = ("exact", "cells", "graph")


def write_index(workspace: Path, digest: str, kind: str, shift: int = 0, personal: float | None = None) -> None:
    """Publishes random vectors. shift: by how much all scores are larger, so that an answer tells whose it is.

    personal: the weight of the user that the card names, if it names one.
    """
    folder, random = workspace / "index" / digest, np.random.default_rng(3)
    folder.mkdir(parents=True)
    vectors = random.normal(size=(ITEM_COUNT, WIDTH)).astype(np.float32)
    vectors[:, -1] = shift
    ids = [f"i{row:05d}" for row in random.permutation(ITEM_COUNT)]
    table = {"item_id": ids, "title": [f"Title of {one}" for one in ids], "has_content": [True] * ITEM_COUNT}
    table["genre"] = [GENRES[place] for place in random.integers(0, 4, ITEM_COUNT)]
    table["price"] = np.round(random.uniform(0, 100, ITEM_COUNT), 2)
    table["year"] = pa.array(random.integers(1950, 2020, ITEM_COUNT), pa.int32())
    table["in_stock"] = random.random(ITEM_COUNT) < 0.5
    table["tags"] = pa.array([[["a"], ["a", "b"], [], None][place] for place in random.integers(0, 4, ITEM_COUNT)])
    pq.write_table(pa.table(table), folder / ITEMS, row_group_size=1000)
    every = Indexed(vectors, np.arange(ITEM_COUNT))
    index = {"exact": exact_index, "cells": lambda _: cells_of(vectors), "graph": graph_index}[kind](every)
    if kind == "cells":
        index.nprobe = 30
    if kind == "graph":
        index.hnsw.efSearch = 300
    for name in (RECOMMEND, CONTENT):
        faiss.write_index(index, str(folder / name))
    users = random.normal(size=(USER_COUNT, WIDTH)).astype(np.float32)
    users[:, -1] = 1
    # The first users have nearly all there is.
    sizes = [ITEM_COUNT - 3, ITEM_COUNT - 1000, 3000, 1500, *random.integers(0, 40, USER_COUNT - 4)]
    seen = [random.choice(ITEM_COUNT, size, replace=False) for size in sizes]
    names = [f"u{place:02d}" for place in range(USER_COUNT)]
    listed = [sorted(ids[row] for row in own) for own in seen]
    columns = {"user_id": names, "vector": vector_column(users), "seen": pa.array(listed, pa.list_(pa.string()))}
    whole = pa.table(columns)
    write_groups(folder / USERS, (whole[start : start + 8] for start in range(0, USER_COUNT, 8)))
    lists = []
    for name, user, own in zip(names, users, seen, strict=True):
        scores = vectors @ user
        scores[own] = -np.inf
        best = np.argsort(-scores)[: min(LISTED, ITEM_COUNT - len(own))]
        lists += [(name, rank, ids[row], float(scores[row])) for rank, row in enumerate(best, 1)]
    names_of = list_schema().names
    pq.write_table(
        pa.Table.from_pylist([dict(zip(names_of, row, strict=True)) for row in lists], list_schema()), folder / LISTS
    )
    pq.write_table(pa.table({"user_id": ["w"], "reason": ["no interaction"]}), folder / WITHOUT_LIST)
    card = {"model": "llm", "lineage": {}, "encoders": {}, "recommended": {"k": LISTED}}
    card |= {} if personal is None else {"personal": {"user": personal}}
    (folder / CARD).write_text(json.dumps({**card, "not_folded_in": ["llm"]}))
    (folder / ENCODERS).write_text("{}")
    write_receipt(folder)
    point_to(workspace, digest)


def point_to(workspace: Path, digest: str) -> None:
    document = {"index": f"index/{digest}", "digest": digest, "run_id": digest}
    text = json.dumps(document | dict.fromkeys(("as_of", "published_at"), AS_OF))
    (workspace / "CURRENT.new").write_text(text)
    os.replace(workspace / "CURRENT.new", workspace / "CURRENT.json")


@pytest.fixture(scope="module", params=KINDS)
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp(str(request.param))
    write_index(folder, "one", request.param)
    with pytest.MonkeyPatch.context() as patch:
        # Above so many, a filter is left to the cells.
        patch.setattr("pipeline.serving.filters.FEW", 200)
        yield folder


class World:
    """What is published, by plain means."""

    def __init__(self, workspace: Path) -> None:
        folder = workspace / json.loads((workspace / "CURRENT.json").read_text())["index"]
        self.folder, self.items = folder, pq.read_table(folder / ITEMS).to_pylist()
        self.users = {row["user_id"]: row for row in pq.read_table(folder / USERS).to_pylist()}
        index = faiss.read_index(str(folder / RECOMMEND))
        if isinstance(index, faiss.IndexIVF):
            index.make_direct_map()
        self.vectors = index.reconstruct_n(0, ITEM_COUNT)

    def best(self, user: str, k: int, passes: Callable[[dict], bool] = lambda item: True, seen: bool = False) -> list:
        """By a plain product over all items."""
        scores = self.vectors @ np.array(self.users[user]["vector"], np.float32)
        hidden = set() if seen else set(self.users[user]["seen"])
        order = np.argsort(-scores, kind="stable")
        rows = [row for row in order if self.items[row]["item_id"] not in hidden and passes(self.items[row])]
        return [(self.items[row]["item_id"], pytest.approx(float(scores[row]), abs=1e-4)) for row in rows[:k]]


@pytest.fixture(scope="module")
def world(workspace: Path) -> World:
    return World(workspace)


@pytest.fixture(scope="module")
def index(workspace: Path) -> Index:
    return Index.open(workspace)


def pairs(answer: object) -> list[tuple[str, float]]:
    return [(hit.item_id, hit.score) for hit in answer.hits]  # type: ignore[attr-defined]


FEW = {"genre": "jazz", "price": (None, 2), "in_stock": True}
FILTERS = [
    (FEW, lambda item: item["genre"] == "jazz" and item["price"] <= 2 and item["in_stock"]),
    ({"genre": ["jazz", "soul"], "year": (2010, None)}, lambda i: i["genre"] in ("jazz", "soul") and i["year"] >= 2010),
    ({"price": (10, 10.5)}, lambda item: 10 <= item["price"] <= 10.5),
    ({"year": (1999.5, 2000.5)}, lambda item: item["year"] == 2000),
    ({"tags": "b"}, lambda item: "b" in (item["tags"] or ())),
    ({"item_id": "i00007"}, lambda item: item["item_id"] == "i00007"),
    ({"genre": (None, None)}, lambda item: item["genre"] is not None),
    ({"genre": []}, lambda item: False),
]


@pytest.mark.parametrize(("wanted", "passes"), FILTERS, ids=[str(wanted) for wanted, _ in FILTERS])
def test_within_a_filter_the_best_are_those_of_all_that_pass(
    index: Index, world: World, wanted: dict[str, object], passes: Callable[[dict], bool]
) -> None:
    passing = sum(map(passes, world.items))
    exact = world.folder.parts[-3].startswith("exact") or passing / ITEM_COUNT < 30 / 200
    for user in ("u02", "u05", "u17"):
        answer = index.recommend(user, k=20, filter=wanted)
        best = world.best(user, 20, passes)
        assert answer.source == "first stage"
        assert {hit.item_id for hit in answer.hits} <= {item["item_id"] for item in world.items if passes(item)}
        assert len(answer.hits) == len(best)
        if exact:
            assert pairs(answer) == best
        else:
            assert len({item for item, _ in pairs(answer)} & {item for item, _ in best}) >= 0.75 * len(best)
    hits = index.similar("i00001", 10, filter=wanted).hits
    assert len(hits) == min(10, sum(passes(item) for item in world.items if item["item_id"] != "i00001"))


def test_a_users_list_answers_as_far_as_it_goes_and_says_when_it_does_not(index: Index, world: World) -> None:
    for user in ("u05", "u06", "u31"):
        listed = index.recommend(user, k=LISTED)
        assert (listed.source, pairs(listed)) == ("list", world.best(user, LISTED))
        assert index.recommend(user, k=LISTED + 1).source == "first stage"
        assert index.recommend(user, k=1, exclude_seen=False).source == "first stage"
        assert index.recommend(user, k=1, filter={"in_stock": True}).source == "first stage"


def test_who_has_nearly_everything_gets_a_full_list_of_the_rest(index: Index, world: World) -> None:
    for user, size in (("u00", 30), ("u01", 1000), ("u02", 900), ("u03", 900)):
        hits, best = pairs(index.recommend(user, k=size)), world.best(user, size)
        # By cells or a graph, those of more than are asked for are near the best; all that there are are all.
        assert hits == best or (not world.folder.parts[-3].startswith("exact") and user > "u01")
        assert (len(hits), {item for item, _ in hits} & set(world.users[user]["seen"])) == (len(best), set())
    vectors, seen = index.users(["u01", "u00", "u09"])
    ids = index.nearest(vectors, 1000, exclude=seen).item_ids()
    assert ids[:2] == [[item for item, _ in world.best(user, 1000)] for user in ("u01", "u00")]
    assert [len(items) for items in ids] == [1000, 3, 1000]


def test_a_batch_is_what_the_same_queries_are_one_by_one(index: Index, world: World) -> None:
    names = [f"u{place:02d}" for place in range(5, USER_COUNT)]
    vectors, seen = index.users(names)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, [np.array(world.users[name]["vector"], np.float32) for name in names])
    for name, own in zip(names, seen, strict=True):
        assert sorted(world.items[row]["item_id"] for row in own) == world.users[name]["seen"]
    for wanted in (None, {"in_stock": True}, FEW):
        batch = index.nearest(vectors, 8, filter=wanted, exclude=seen)
        alone = [index.nearest(vectors[[at]], 8, filter=wanted, exclude=[seen[at]]) for at in range(len(names))]
        assert batch.item_ids() == [one.item_ids()[0] for one in alone]
        assert np.allclose(batch.scores, np.concatenate([one.scores for one in alone]), atol=1e-4)
    assert (batch.rows.dtype, batch.scores.dtype, batch.index) == (np.int64, np.float32, "one")
    assert index.nearest(vectors[:0], 3).item_ids() == []
    assert index.users([])[1] == []


def test_an_item_is_like_others_and_not_itself(index: Index, world: World) -> None:
    row = int(index.rows(["i00011"])[0])
    assert world.items[row]["item_id"] == "i00011"
    assert index.title("i00011") == "Title of i00011"
    hits = index.similar("i00011", k=ITEM_COUNT).hits
    assert len(hits) == ITEM_COUNT - 1
    assert "i00011" not in {hit.item_id for hit in hits}
    scores = world.vectors @ world.vectors[row]
    assert hits[0].score == pytest.approx(float(np.sort(np.delete(scores, row))[-1]), abs=1e-3)


NOBODY = "user: ask for a user, or for a history, or for a user by a history"
WRONG = [
    (lambda index: index.recommend("x"), "user x: not in the published index"),
    (lambda index: index.recommend("w"), "user w: no recommendations, because of this user: no interaction"),
    (lambda index: index.recommend("w", filter=FEW), "user w: no recommendations, because of this user: "),
    (lambda index: index.recommend(), NOBODY),
    (lambda index: index.recommend("u05", k=0), "k: 0 is no number of answers; give 1 or more"),
    (lambda index: index.users(["u05", "x"]), "user x: not in the published index"),
    (lambda index: index.rows(["i00001", "x"]), "item x: not in the published index"),
    (lambda index: index.similar("x"), "item x: not in the published index"),
    (lambda index: index.search(item="i00001", user="x"), "user x: not in the published index"),
    (lambda index: index.search(), "text: ask for any of an item, a text, an image and an audio"),
    (lambda index: index.search(text="x", weights={"image": 1}), "weights: image is not asked for; what is, is text"),
    (lambda index: index.search(text="x", weights={"text": -1}), "weights: text must be a number from 0 on"),
    (lambda index: index.search(text="x", weights={"text": 0}), "weights: of item, text, image and audio, give one"),
    (lambda index: index.recommend("u05", filter={"size": 1}), "filter: items have no attribute size; they have "),
    (lambda index: index.recommend("u05", filter={"price": "dear"}), "filter: price is double, to which 'dear' "),
    (lambda index: index.recommend("u05", filter={"genre": 3}), "filter: genre is string, to which 3 cannot be"),
    (lambda index: index.recommend("u05", filter={"genre": None}), "filter: genre is string, to which None cannot"),
    (lambda index: index.recommend("u05", filter={"price": (1, 2, 3)}), "filter: price is double, to which (1, 2, 3)"),
    (lambda index: index.recommend(history=["i00001"]), "history: llm makes users at night alone"),
    (lambda index: index.recommend(history=["i00001", "x"]), "history: x: not in the published index"),
    (lambda index: index.recommend(history="i00001"), "history: i00001 is one text; give a list of item ids, or of"),
    (lambda index: index.nearest(np.zeros((2, 3))), "vectors: of shape (2, 3); give (n, 16)"),
    (lambda index: index.nearest(np.zeros((2, 16)), exclude=[]), "exclude: of 0 vectors; give rows of each of 2"),
    (lambda index: index.recommend(history=[Choice("i00001", 0)]), "history: weights must be above 0, and ages in"),
    (lambda index: index.recommend(history=[Choice("i00001", 1, -1)]), "history: weights must be above 0, and ages"),
]


@pytest.mark.parametrize(("ask", "said"), WRONG, ids=[f"{at} {said[:20]}" for at, (_, said) in enumerate(WRONG)])
def test_what_cannot_be_answered_is_one_sentence_that_begins_with_the_argument(
    index: Index, ask: Callable[[Index], object], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ask(index)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_personal_search_keeps_to_the_querys_best_and_orders_them_by_both(index: Index, world: World) -> None:
    plain = index.search(item="i00011", k=200)
    assert pairs(index.search(item="i00011", user="u05", weights={"user": 0}, k=20))[0][0] == plain.hits[0].item_id
    both = index.search(item="i00011", user="u05", k=20)
    assert (both.source, both.query) == ("content and first stage", {"item": "i00011", "user": "u05"})
    rows = index.rows([hit.item_id for hit in plain.hits])
    cosines, user = np.array([hit.score for hit in plain.hits]), np.array(world.users["u05"]["vector"], np.float32)
    products = world.vectors[rows] @ user
    mixed = (cosines - cosines.mean()) / cosines.std() + 2 * (products - products.mean()) / products.std()
    order = np.argsort(-mixed)[:20]
    assert [hit.item_id for hit in both.hits] == [plain.hits[at].item_id for at in order]
    assert [hit.score for hit in both.hits] == pytest.approx(mixed[order].tolist(), abs=1e-3)


def test_a_personal_search_weighs_the_user_as_the_night_chose(tmp_path: Path) -> None:
    write_index(tmp_path, "one", "exact")
    plain = Index.open(tmp_path)
    write_index(tmp_path, "two", "exact", personal=8.0)
    chosen = Index.open(tmp_path)
    heavy = pairs(plain.search(item="i00011", user="u05", weights={"user": 8}))
    assert pairs(chosen.search(item="i00011", user="u05")) == heavy != pairs(plain.search(item="i00011", user="u05"))


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    write_index(tmp_path / "copy", "one", "exact")
    yield tmp_path / "copy"
    shutil.rmtree(tmp_path / "copy")


NAMES = [RECOMMEND, CONTENT, ITEMS, USERS, LISTS, WITHOUT_LIST, CARD, ENCODERS]


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_byte_is_refused_with_the_files_name(copy: Path, name: str) -> None:
    path = copy / "index" / "one" / name
    before, content = path.stat(), bytearray(path.read_bytes())
    Index.open(copy).recommend("u05")
    for place in (0, len(content) // 2, len(content) - 1):
        changed = content.copy()
        changed[place] ^= 1
        path.write_bytes(changed)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(ShardCorrupt, match=rf"{name}: its bytes are not those of its receipt \(sha256\)"):
            Index.open(copy)
    path.unlink()
    with pytest.raises(ShardCorrupt, match=rf"{name}: cannot be read"):
        Index.open(copy)


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_index_answers_all_questions_after_its_folder_is_swept(tmp_path: Path, kind: str) -> None:
    write_index(tmp_path, "one", kind)
    index = Index.open(tmp_path)
    shutil.rmtree(tmp_path / "index")
    assert len(index.recommend("u05", k=3).hits) == 3
    assert len(index.recommend("u05", filter={"in_stock": True}).hits) == 10
    assert len(index.search(item="i00003", user="u05", filter=FEW).hits) == 10
    with pytest.raises(ConfigError, match="because of this user: no interaction"):
        index.recommend("w")


@pytest.mark.parametrize("kind", ["cells", "graph"])
def test_items_without_content_are_no_answers_of_a_small_filter(tmp_path: Path, kind: str) -> None:
    random, rows = np.random.default_rng(0), np.arange(0, 4000, 2)
    vectors = random.normal(size=(4000, WIDTH)).astype(np.float32)
    content: faiss.Index = graph_index(Indexed(vectors, rows, rows))
    if kind == "cells":
        content = cells_of(vectors[rows], rows)
        content.nprobe = 2
    faiss.write_index(content, str(tmp_path / CONTENT))
    index = Searched(lambda: faiss.read_index(str(tmp_path / CONTENT), faiss.IO_FLAG_MMAP_IFC))
    few = np.array([1, 2, 3, 4, 3998, 3999, 5000])
    mask = np.zeros(5001, bool)
    mask[few] = True
    passing = Passing(np.packbits(mask, bitorder="little"), len(few), few)
    scores, found = index.nearest(vectors[:3], 5, passing, [np.array([4]), np.zeros(0, np.int64), np.array([2, 4])])
    assert [sorted(row for row in line if row >= 0) for line in found.tolist()] == [[2, 3998], [2, 4, 3998], [3998]]
    assert scores[2, 0] == pytest.approx(float(vectors[2] @ vectors[3998]), abs=1e-4)
    assert np.allclose(index.products(vectors[7], np.array([8, 2])), vectors[[8, 2]] @ vectors[7], atol=1e-4)


@pytest.mark.parametrize("blocks", [False, True])
def test_one_question_verifies_what_it_reads(copy: Path, blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if blocks:
        monkeypatch.setattr(verified, "BLOCK_BYTES", 512)
        write_blocks(copy / "index" / "one", (ITEMS, USERS, LISTS, WITHOUT_LIST))
        write_receipt(copy / "index" / "one")
        # In the first page of the lists.
        with open(copy / "index" / "one" / LISTS, "r+b") as file:
            file.seek(4)
            byte = file.read(1)
            file.seek(4)
            file.write(bytes([byte[0] ^ 1]))
        with pytest.raises(ShardCorrupt, match=LISTS):
            Index.open(copy, once=True).recommend("u05", k=LISTED)
        with open(copy / "index" / "one" / LISTS, "r+b") as file:
            file.seek(4)
            file.write(byte)
    for name in (RECOMMEND, USERS):
        with open(copy / "index" / "one" / name, "r+b") as file:
            file.write(b"\0")
    once = Index.open(copy, once=True)
    assert len(once.recommend("u05", k=LISTED).hits) == LISTED
    with pytest.raises(ShardCorrupt, match=USERS):
        once.recommend("u05", filter=FEW)
    with pytest.raises(ShardCorrupt, match=RECOMMEND):
        once.nearest(np.zeros((1, WIDTH), np.float32))
    (copy / "index" / "one" / "receipt.json").unlink()
    with pytest.raises(ShardCorrupt, match="receipt"):
        Index.open(copy, once=True)


def test_threads_ask_on_while_others_are_published_and_the_old_ones_swept(tmp_path: Path) -> None:
    for number in range(6):
        write_index(tmp_path, f"n{number}", KINDS[number % 2], shift=100 * number)
    point_to(tmp_path, "n0")
    index, faults, answers, stop = Index.open(tmp_path), [], [], threading.Event()

    def ask(number: int) -> None:
        random = np.random.default_rng(number)
        while not stop.is_set():
            user = f"u{random.integers(4, USER_COUNT):02d}"
            try:
                vectors, seen = index.users([user])
                with pytest.raises(ConfigError, match="user nobody: not in the published index"):
                    index.recommend("nobody")
                some = [index.recommend(user, k=3), index.recommend(user, k=9, filter=FEW), index.similar("i00003")]
                some.append(index.search(item="i00003", user=user))
                assert index.nearest(vectors, 4, exclude=seen).rows.min() >= 0
                assert all(len(answer.hits) > 2 for answer in some)
                # All of one answer is of one index, whose scores are a hundred away from any other's.
                for answer in some[:2]:
                    assert {round(hit.score / 100) for hit in answer.hits} == {int(answer.index[1:])}
                answers.append(some[0].index)
            except Exception as error:
                faults.append(repr(error))
                return

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 6):
        so_far = len(answers)
        while len(answers) < so_far + 20 and not faults:
            stop.wait(0.01)
        point_to(tmp_path, f"n{number}")
        assert index.refresh()
        assert not index.refresh()
        assert index.digest == f"n{number}"
        shutil.rmtree(tmp_path / "index" / f"n{number - 1}")
    stop.wait(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert set(answers) == {f"n{number}" for number in range(6)}


def test_what_cannot_be_opened_leaves_the_old_index_answering(copy: Path) -> None:
    index = Index.open(copy)
    index.recommend("u05")
    write_index(copy, "two", "exact", shift=100)
    (copy / "index" / "two" / USERS).write_bytes(b"nothing")
    with pytest.raises(ShardCorrupt, match=USERS):
        index.refresh()
    assert (index.digest, index.recommend("u05").index) == ("one", "one")


def test_a_new_index_is_warmed_by_the_last_queries(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.serving.opened import Opened

    index, asked = Index.open(copy), []
    index.recommend("u05", k=2)
    index.similar("i00003", k=4)
    index.nearest(np.ones((40, WIDTH), np.float32), 3)
    write_index(copy, "two", "cells")
    for name in ("recommend", "similar", "nearest"):
        plain = getattr(Opened, name)

        def noted(self: Opened, *given: object, name: str = name, plain: object = plain, **query: object) -> object:
            asked.append((name, query["k"], self.digest, index.digest))
            return plain(self, *given, **query)  # type: ignore[operator]

        monkeypatch.setattr(Opened, name, noted)
    assert index.refresh()
    assert asked == [("recommend", 2, "two", "one"), ("similar", 4, "two", "one"), ("nearest", 3, "two", "one")]


def test_nothing_published_is_said(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="run `medley run` first"):
        Index.open(tmp_path)


def test_users_histories_and_items_are_answered_without_what_encodes(published: Shop) -> None:
    code = """
import sys
from pipeline.serving import Choice, Index
index = Index.open(sys.argv[1])
index.recommend("buyer-0001")
index.recommend("buyer-0001", k=40, filter={"genre": ["samba", "soul"]})
index.similar("rec-0003")
index.search(item="rec-0003", user="buyer-0001")
one, other, moment = (
    [hit.score for hit in index.recommend(history=history, k=30).hits]
    for history in (["rec-0003", "rec-0004"], ["rec-0004", "rec-0003"], [Choice("rec-0003"), Choice("rec-0004")])
)
assert one != other != moment != one  # ids follow each other, choices of one age do not
heavy = [name for name in ("torch", "transformers", "pandas", "sklearn", "implicit", "numba") if name in sys.modules]
assert not heavy, heavy
"""
    python(code, published.workspace)


def test_someone_of_a_users_history_is_answered_as_that_user_is(night: Shop) -> None:
    """A blend of models that fold in, each its own way, and two of them with profiles."""
    quick = "max_epochs: 2"
    members = f"[{{model: svd}}, {{model: als}}, {{model: content}}, {{model: two_tower, {quick}}}]"
    members = f"train.members={members[:-1]}, {{model: sequence, {quick}}}]"
    night.run("folded", "-s", "train.model=blend", "-s", members)
    index = Index.open(night.workspace)
    assert index.published.card["not_folded_in"] == []
    staged = Staged(night.workspace / str(index.published.card["lineage"]["ingest"]))
    for user in ("buyer-0001", "buyer-0007", "buyer-0030"):
        items, log = staged.read_choices(user)
        history = [
            Choice(items[item], weight, age)
            for item, weight, age in zip(log.item.tolist(), log.weight.tolist(), log.age_days.tolist(), strict=True)
        ]
        own, folded = index.recommend(user, k=30), index.recommend(user, history, k=30)
        assert (own.source, folded.source) == ("first stage", "first stage")
        assert [score for _, score in pairs(folded)] == pytest.approx([score for _, score in pairs(own)], abs=1e-4)
        assert set(items).isdisjoint(item for item, _ in pairs(index.recommend(history=history, k=30)))
    path = index.published.folder / "fold_in" / "svd" / "reads.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardCorrupt, match=r"fold_in/svd/reads\.safetensors: its bytes are not those"):
        Index.open(night.workspace)
