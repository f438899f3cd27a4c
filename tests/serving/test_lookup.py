from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import Shop, medley


def asked(shop: Shop, *arguments: object, status: int = 0) -> dict[str, Any]:
    done = medley("lookup", "-w", shop.workspace, "--json", *arguments, status=status)
    return json.loads(done.stdout) if status == 0 else {"said": done.stderr}


def test_a_user_gets_items_not_seen_before_best_first(published: Shop) -> None:
    answer = asked(published, "--user", "buyer-0001", "-k", 5)
    current = json.loads((published.workspace / "CURRENT.json").read_text())
    users = pq.read_table(published.workspace / current["index"] / "users.parquet").to_pylist()
    seen = next(set(user["seen"]) for user in users if user["user_id"] == "buyer-0001")
    assert answer["index"] == current["digest"]
    assert answer["query"] == {"user": "buyer-0001"}
    assert len(answer["hits"]) == 5
    assert not seen & {hit["item_id"] for hit in answer["hits"]}
    assert all(hit["title"] for hit in answer["hits"])
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_an_items_own_text_picture_and_sound_find_it(published: Shop) -> None:
    sleeve, clip = published.folder / "sleeves/rec-0002.jpg", next((published.folder / "clips").glob("rec-0002.*"))
    assert asked(published, "--image", sleeve, "--audio", clip, "-k", 1)["hits"][0]["item_id"] == "rec-0002"
    for only in (("--image", sleeve), ("--audio", clip)):
        assert "rec-0002" in {hit["item_id"] for hit in asked(published, *only, "-k", 5)["hits"]}


def test_an_item_is_not_its_own_neighbour_and_can_be_combined_with_words(published: Shop) -> None:
    alone = [hit["item_id"] for hit in asked(published, "--item", "rec-0003")["hits"]]
    mixed = [hit["item_id"] for hit in asked(published, "--item", "rec-0003", "--text", "winter snow")["hits"]]
    assert "rec-0003" not in alone + mixed
    assert len(alone) == len(mixed) == 10
    assert alone != mixed


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--user", "nobody"), 2, "--user nobody: not in the published index"),
        (("--item", "nothing"), 2, "--item nothing: not in the published index"),
        ((), 2, "ask for --user, or for any of"),
        (("--user", "nobody", "--text", "x"), 2, "--user nobody: not in the published index"),
        (("--history", "nothing"), 2, "--history: nothing: not in the published index"),
        (("--image", "/no/such.jpg"), 1, "file not found"),
        (("--image", __file__), 1, "--image: not a readable picture"),
        (("--audio", __file__), 1, "--audio: not a readable clip"),
    ],
)
def test_a_wrong_question_is_one_sentence(published: Shop, arguments: tuple[str, ...], status: int, said: str) -> None:
    answer = asked(published, *arguments, status=status)
    assert said in answer["said"]
    assert "Traceback" not in answer["said"]


def test_for_more_than_the_list_has_the_first_stage_answers_and_says_so(published: Shop) -> None:
    answer = asked(published, "--user", "buyer-0001", "-k", 50)
    assert (len(answer["hits"]), answer["source"]) == (50, "first stage")
    said = "the list of buyer-0001 has 20 items; these are the first stage's, and not in the list's order"
    assert answer["note"] == said
    listed = asked(published, "--user", "buyer-0001", "-k", 20)
    assert listed["source"] == "list"
    assert "note" not in listed


def test_a_users_words_are_answered_by_what_they_chose_too(published: Shop) -> None:
    alone = asked(published, "--text", "winter snow", "-k", 5)
    both = asked(published, "--text", "winter snow", "--user", "buyer-0001", "-k", 5)
    assert (alone["source"], both["source"]) == ("content", "content and first stage")
    assert both["query"] == {"text": "winter snow", "user": "buyer-0001"}
    assert [hit["item_id"] for hit in alone["hits"]] != [hit["item_id"] for hit in both["hits"]]


def test_answers_are_within_a_filter(published: Shop) -> None:
    filters = ("--filter", "genre=samba", "--filter", "genre=soul", "--filter", "year=1960..1999")
    current = json.loads((published.workspace / "CURRENT.json").read_text())
    items = pq.read_table(published.workspace / current["index"] / "items.parquet").to_pylist()
    passing = {
        item["item_id"] for item in items if item["genre"] in ("samba", "soul") and 1960 <= (item["year"] or 0) <= 1999
    }
    for question in (("--user", "buyer-0001"), ("--item", "rec-0003")):
        hits = asked(published, *question, *filters, "-k", 80)["hits"]
        assert 3 < len(hits) <= len(passing)
        assert {hit["item_id"] for hit in hits} <= passing


def test_nothing_published_yet_says_what_to_run(tmp_path: Path) -> None:
    assert "run `medley run` first" in medley("lookup", "-w", tmp_path, "--user", "u", status=1).stderr
    assert "no such folder" in medley("status", "-w", tmp_path / "none", status=1).stderr
