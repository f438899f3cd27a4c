"""What a lookup leaves out: the item that is asked for, items without content, and places of a list that are empty."""

from __future__ import annotations

import json
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.published import CONTENT, ITEMS, LISTS, RECOMMEND, USERS, WITHOUT_LIST, list_schema
from pipeline.artefacts.vectors import vector_column
from pipeline.errors import ConfigError
from pipeline.printable import printable
from pipeline.serving import Answer, Hit, Index
from pipeline.serving.lookup import NOTHING, Query, ask
from pipeline.serving.recommendations import write_lists
from pipeline.workspace import CARD
from tests.conftest import AS_OF, medley
from tests.receipts import write_receipt
from tests.test_printable import EVIL

# Row 1 has no content, and row 3 no title. Unit vectors at these angles from the first axis.
DEGREES = {0: 0, 2: 30, 3: 50, 4: 110}
CURRENT = {"index": "index/1", "digest": "1", "run_id": "first"} | dict.fromkeys(("as_of", "published_at"), AS_OF)
NAMES = ["a", "b", "c", "d", "e"]


def cosine(one: int, other: int) -> float:
    return float(np.cos(np.radians(DEGREES[one] - DEGREES[other])))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "index" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "CURRENT.json").write_text(json.dumps(CURRENT))
    titles = [None if name == "d" else name.upper() for name in NAMES]
    pq.write_table(
        pa.table({"item_id": NAMES, "title": titles, "has_content": [row in DEGREES for row in range(5)]}),
        folder / ITEMS,
    )
    angles = np.radians(list(DEGREES.values()))
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(2))
    index.add_with_ids(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32), np.array(list(DEGREES)))
    faiss.write_index(index, str(folder / CONTENT))
    rows = [("u", 1, "d", 0.9), ("u", 2, "a", 0.5), ("u", 3, "b", 0.25), ("v", 1, "c", 0.75)]
    pq.write_table(
        pa.Table.from_pylist([dict(zip(list_schema().names, row, strict=True)) for row in rows], list_schema()),
        folder / LISTS,
    )
    pq.write_table(pa.table({"user_id": ["w"], "reason": ["no interaction"]}), folder / WITHOUT_LIST)
    # u has c and e, v has all but c; the first stage is fond of early rows.
    seen = pa.array([["c", "e"], ["a", "b", "d", "e"]], pa.list_(pa.string()))
    columns = {"user_id": ["u", "v"], "vector": vector_column(np.ones((2, 1), np.float32)), "seen": seen}
    pq.write_table(pa.table(columns), folder / USERS)
    first_stage = faiss.IndexFlatIP(1)
    first_stage.add(np.arange(5, 0, -1, dtype=np.float32)[:, None])
    faiss.write_index(first_stage, str(folder / RECOMMEND))
    (folder / CARD).write_text(json.dumps({"model": "svd", "lineage": {}, "encoders": {}, "recommended": {"k": 3}}))
    write_receipt(folder)
    return tmp_path


def test_a_user_gets_their_list_from_the_top(workspace: Path) -> None:
    hits = [Hit("d", pytest.approx(0.9), ""), Hit("a", 0.5, "A"), Hit("b", 0.25, "B")]
    assert ask(workspace, Query(user="u", k=2)) == Answer("1", {"user": "u"}, hits[:2], "", "list")
    assert ask(workspace, Query(user="u", k=3)) == Answer("1", {"user": "u"}, hits, "", "list")
    assert ask(workspace, Query(user="v", k=1)).hits == [Hit("c", 0.75, "C")]


def test_for_more_than_the_list_has_it_is_the_first_stage_unless_the_list_has_all_there_is(workspace: Path) -> None:
    longer = ask(workspace, Query(user="u", k=4))
    assert (longer.source, [hit.item_id for hit in longer.hits]) == ("first stage", ["a", "b", "d"])
    assert longer.note == "no more than 3 items can be answers"
    note = "the list of v has 1 items, all that they do not have"
    assert ask(workspace, Query(user="v", k=4)) == Answer("1", {"user": "v"}, [Hit("c", 0.75, "C")], note, "list")
    index = Index.open(workspace)
    assert [hit.item_id for hit in index.recommend("u", k=4, exclude_seen=False).hits] == ["a", "b", "c", "d"]
    assert index.recommend("u", k=1, exclude_seen=False).source == "first stage"
    assert index.recommend("u", k=1, filter={"title": "B"}).hits == [Hit("b", 4.0, "B")]
    assert index.recommend("u", k=1, filter={"title": "C"}).hits == []


def test_an_item_is_not_its_own_neighbour_and_an_item_without_content_nobodys(workspace: Path) -> None:
    found = ask(workspace, Query(item="c", k=10))
    assert (found.index, found.query, found.note) == ("1", {"item": "c"}, "")
    near = sorted((row for row in DEGREES if row != 2), key=lambda row: -cosine(2, row))
    assert [hit.item_id for hit in found.hits] == [NAMES[row] for row in near] == ["d", "a", "e"]
    assert [hit.score for hit in found.hits] == pytest.approx([cosine(2, row) for row in near])
    assert [hit.title for hit in found.hits] == ["", "A", "E"]
    for k in (1, 2, 3):
        assert ask(workspace, Query(item="c", k=k)).hits == found.hits[:k]


def test_places_that_a_search_does_not_fill_are_no_hits(workspace: Path) -> None:
    path = str(workspace / "index/1" / CONTENT)
    vectors = np.array([[1, 0], [0.8, 0.6], [-1, 0], [0, -1]], np.float32)
    cells = faiss.IndexIVFFlat(faiss.IndexFlatIP(2), 2, 2, faiss.METRIC_INNER_PRODUCT)
    cells.train(np.array([[1, 0], [-1, 0]], np.float32).repeat(40, axis=0))
    index = faiss.IndexIDMap2(cells)
    index.add_with_ids(vectors, np.array(list(DEGREES)))
    faiss.write_index(index, path)
    write_receipt(workspace / "index/1")
    found = ask(workspace, Query(item="a", k=2)).hits
    assert [hit.item_id for hit in found] == ["c", "e"]
    # One cell of two is looked into, then both; what is left is filled up with -1, which would be the last item.
    assert [hit.item_id for hit in ask(workspace, Query(item="a", k=10)).hits] == ["c", "e", "d"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (Query(), NOTHING),
        (Query(user="u", k=0), NOTHING),
        (Query(item="a", k=0), NOTHING),
        (Query(user="w", item="a"), "--user w: no recommendations, because of this user: no interaction"),
        (Query(user="x"), "--user x: not in the published index"),
        (Query(user="w"), "--user w: no recommendations, because of this user: no interaction"),
        (Query(item="x"), "--item x: not in the published index"),
        (Query(item="b"), "--item b: it has no content to be compared by"),
        (
            Query(user="u", filter=("colour=red",)),
            "--filter: items have no attribute colour; they have item_id, title, has_content",
        ),
        (
            Query(user="u", filter=("has_content=3..",)),
            "--filter: has_content is bool, to which ('3', None) cannot be compared",
        ),
        (
            Query(user="u", filter=("title",)),
            "--filter title: write NAME=VALUE, or NAME=LOW..HIGH with an end left out",
        ),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(workspace: Path, query: Query, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ask(workspace, query)
    assert str(caught.value) == said


def test_the_answers_document_has_a_note_only_where_there_is_one() -> None:
    plain = {"index": "1", "query": {"user": "u"}, "hits": [{"item_id": "a", "score": 0.5, "title": "A"}]}
    answer = Answer("1", {"user": "u"}, [Hit("a", 0.5, "A")])
    assert answer.as_json() == plain
    assert Answer("1", {"user": "u"}, answer.hits, "few").as_json() == plain | {"note": "few"}
    assert Answer("1", {"user": "u"}, answer.hits, source="list").as_json() == plain | {"source": "list"}
    query = Query("u", "i", "t", Path("p"), Path("c"))
    assert query.given() == {"user": "u", "item": "i", "text": "t", "image": "p", "audio": "c"}
    assert (Query(item="i").given(), Query().k) == ({"item": "i"}, 10)


def test_empty_places_of_a_list_are_not_written(tmp_path: Path) -> None:
    users, items = pa.array(["u", "v", "w", "x"]), pa.array(["a", "b", "c"])
    blocks = [
        (np.array([0, 2]), np.array([[2, 0, 1], [1, -1, -1]]), np.array([[9, 8, 7], [6, 0, 0]], np.float32)),
        (np.array([3]), np.array([[-1, -1, -1]]), np.zeros((1, 3), np.float32)),
    ]
    rows, served = write_lists(iter(blocks), users, items, 2, tmp_path / LISTS)
    assert (rows, served.tolist()) == (3, [True, False, True, False])
    table = pq.read_table(tmp_path / LISTS)
    assert table.schema.equals(list_schema())
    assert [tuple(row.values()) for row in table.to_pylist()] == [("u", 1, "c", 9), ("u", 2, "a", 8), ("w", 1, "b", 6)]


def test_titles_and_ids_are_shown_and_not_obeyed_and_json_is_exact(workspace: Path) -> None:
    path = workspace / "index" / "1" / ITEMS
    items = pq.read_table(path)
    titles = [EVIL, *items["title"].to_pylist()[1:]]
    pq.write_table(items.set_column(1, "title", pa.array(titles)), path)
    write_receipt(path.parent)
    command = ("lookup", "-w", workspace, "--item", "c")
    assert [hit["title"] for hit in json.loads(medley(*command, "--json").stdout)["hits"]].count(EVIL) == 1
    said = medley(*command).stdout
    assert printable(EVIL) in said
    assert len(said.splitlines()) == 4
    refused = medley("lookup", "-w", workspace, "--item", EVIL, status=2).stderr
    assert refused == f"medley: --item {printable(EVIL)}: not in the published index\n"
