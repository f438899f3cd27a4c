"""What is answered over HTTP is what the class answers, in cards; sums add up; a wrong question is one sentence."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image

from pipeline.serving import Choice, Index
from pipeline.web import catalogue
from pipeline.web.served import Serving
from pipeline.web.space import space_of
from tests.conftest import Shop
from tests.web.conftest import MARKUP

USER = "buyer-0001"


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["item_id"] for hit in answer.json()["hits"]]


def of(answer: Any) -> list[str]:
    return [hit.item_id for hit in answer.hits]


def test_a_user_has_their_list_as_cards(client: httpx.Client, index: Index) -> None:
    response = client.post("/api/recommend", json={"user": USER, "k": 8})
    expected = index.recommend(USER, k=8)
    assert ids(response) == of(expected)
    document = response.json()
    assert (document["index"], document["source"], document["note"]) == (index.digest, "list", "")
    for card, hit in zip(document["hits"], expected.hits, strict=True):
        assert card["score"] == hit.score
        assert card["title"] == (hit.title or hit.item_id)
        assert {"genre", "year"} <= set(card["attributes"])
        assert not {"text", "image", "audio", "has_content"} & set(card["attributes"])


def test_filters_histories_and_likeness_are_the_classs(client: httpx.Client, index: Index) -> None:
    facets = {facet["name"]: facet for facet in client.get("/api/index").json()["facets"]}
    genre, year = facets["genre"]["values"][0]["value"], facets["year"]
    wanted = {"genre": [genre], "year": {"low": year["low"], "high": year["high"] - 1}}
    plain = {"genre": [genre], "year": (year["low"], year["high"] - 1)}
    filtered = client.post("/api/recommend", json={"user": USER, "k": 5, "filter": wanted})
    assert ids(filtered) == of(index.recommend(USER, k=5, filter=plain))
    assert {card["attributes"]["genre"] for card in filtered.json()["hits"]} == {genre}
    history = ["rec-0003", {"item": "rec-0005", "weight": 2, "age_days": 1}]
    folded = client.post("/api/recommend", json={"history": history, "k": 5})
    assert ids(folded) == of(index.recommend(history=["rec-0003", Choice("rec-0005", 2, 1)], k=5))
    assert folded.json()["source"] == "first stage"
    alike = client.post("/api/similar", json={"item": "rec-0003", "k": 5, "filter": {"genre": genre}})
    assert ids(alike) == of(index.similar("rec-0003", 5, {"genre": genre}))


def test_words_pictures_and_recordings_are_searched_by(
    client: httpx.Client, index: Index, sleeve: tuple[str, Path], recording: tuple[str, Path]
) -> None:
    words = client.post("/api/search", data={"text": "a slow evening", "k": "6"})
    assert ids(words) == of(index.search(text="a slow evening", k=6))
    personal = client.post("/api/search", data={"text": "a slow evening", "user": USER, "weights": '{"user": 3}'})
    assert ids(personal) == of(index.search(text="a slow evening", user=USER, weights={"user": 3}, k=12))
    assert personal.json()["source"] == "content and first stage"
    seen = client.post("/api/search", files={"image": ("any name", sleeve[1].read_bytes())}, data={"k": "5"})
    assert ids(seen) == of(index.search(image=sleeve[1], k=5))
    heard = client.post("/api/search", files={"audio": ("x", recording[1].read_bytes())}, data={"filter": "{}"})
    assert ids(heard) == of(index.search(audio=recording[1], k=12))


def test_uploads_are_not_kept_to_warm_the_next_index(serving: Serving, client: httpx.Client) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (9, 90, 200)).save(buffer, "PNG")
    assert ids(client.post("/api/search", files={"image": ("a.png", buffer.getvalue())}))
    kept = [value for _, query in serving._index._queries for value in query.get("given", {}).values()]
    assert not any(isinstance(value, bytes) for value in kept)


def total(bars: dict[str, Any]) -> float:
    return bars["base"] + sum(part["value"] for part in bars["parts"])


def test_every_sum_of_a_listed_score_adds_up(client: httpx.Client) -> None:
    hits = client.post("/api/recommend", json={"user": USER, "k": 4}).json()["hits"]
    for place, hit in enumerate(hits, 1):
        why = client.post("/api/explain", json={"user": USER, "item": hit["item_id"]}).json()
        assert (why["rank"], why["score"], why["title"]) == (place, hit["score"], hit["title"])
        assert [bars["of"] for bars in why["bars"]][-2:] == ["score", "score"]
        for bars in why["bars"]:
            assert total(bars) == pytest.approx(bars["total"], abs=1e-5)
        first = why["bars"][0]
        said = 1 / (1 + math.exp(-first["total"])) if first["of"] == "logit" else first["total"]
        assert said == pytest.approx(hit["score"], rel=1e-3)


def test_the_sums_of_a_history_and_of_two_items_add_up_to_their_scores(client: httpx.Client) -> None:
    history = ["rec-0003", "rec-0005", "rec-0009"]
    hit = client.post("/api/recommend", json={"history": history, "k": 1}).json()["hits"][0]
    why = client.post("/api/explain", json={"history": history, "item": hit["item_id"]}).json()
    (bars,) = why["bars"]
    assert len(bars["parts"]) == 3
    assert total(bars) == pytest.approx(hit["score"], abs=1e-4)
    hit = client.post("/api/similar", json={"item": "rec-0003", "k": 1}).json()["hits"][0]
    why = client.post("/api/explain", json={"item": hit["item_id"], "other": "rec-0003"}).json()
    assert [bars["of"] for bars in why["bars"]] == ["cosine"]
    assert total(why["bars"][0]) == pytest.approx(why["score"], abs=1e-6)
    assert why["score"] == pytest.approx(hit["score"], abs=1e-3)


def test_an_attribute_of_64_bits_has_a_range() -> None:
    facet = catalogue._range("id", pa.array([2**60 + 1, 5, None]))
    assert facet is not None
    assert (facet.low, facet.high, facet.whole) == (5, float(2**60), True)


def test_what_is_published_is_said_with_what_can_be_filtered_by(client: httpx.Client, index: Index) -> None:
    about = client.get("/api/index").json()
    assert (about["index"], about["run_id"], about["model"]) == (index.digest, "graph", "graph")
    assert about["search"] == {"text": "", "image": "", "audio": ""}
    assert about["history"] == ""
    facets = {facet["name"]: facet for facet in about["facets"]}
    assert facets["genre"]["kind"] == "category"
    assert (facets["year"]["kind"], facets["year"]["whole"]) == ("number", True)
    counts = index.published.items(["genre"])["genre"].to_pylist()
    for value in facets["genre"]["values"]:
        assert counts.count(value["value"]) == value["items"]
    for user in about["people"]:
        assert client.get("/api/user", params={"user": user}).json()["user"] == user


def test_users_and_items_are_found_by_letters(client: httpx.Client, index: Index) -> None:
    found = client.get("/api/users", params={"q": "buyer-000"}).json()["users"]
    assert 0 < len(found) <= 24
    assert all(user.startswith("buyer-000") for user in found)
    title = index.title("rec-0003")
    items = client.get("/api/items", params={"q": title.upper()}).json()["items"]
    assert "rec-0003" in [item["item_id"] for item in items]
    view = client.get("/api/item", params={"item": "rec-0003"}).json()
    assert view["title"] == title
    assert len(view["text"]) > 10
    seen = client.get("/api/user", params={"user": USER}).json()
    assert seen["chosen"] >= len(seen["items"]) > 0


def test_a_picture_goes_out_small_and_a_clip_in_ranges(
    client: httpx.Client, sleeve: tuple[str, Path], recording: tuple[str, Path]
) -> None:
    answer = client.get("/api/picture", params={"item": sleeve[0]})
    assert answer.headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(answer.content)).size) <= 320
    assert answer.headers["x-content-type-options"] == "nosniff"
    data = recording[1].read_bytes()
    answer = client.get("/api/clip", params={"item": recording[0]})
    assert answer.content == data
    assert answer.headers["content-type"].startswith("audio/")
    part = client.get("/api/clip", params={"item": recording[0]}, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, data[10:20])


def test_a_picture_that_is_gone_is_a_sentence(client: httpx.Client, web_shop: Shop, sleeve: tuple[str, Path]) -> None:
    aside = sleeve[1].with_name("aside")
    sleeve[1].rename(aside)
    try:
        answer = client.get("/api/picture", params={"item": sleeve[0], "size": "whole"})
    finally:
        aside.rename(sleeve[1])
    assert answer.status_code == 404
    assert answer.json()["error"].startswith(f"item {sleeve[0]}: no picture (file not found")


def test_the_map_has_each_item_once_within_its_bounds(client: httpx.Client, index: Index) -> None:
    space = client.get("/api/map").json()
    held = index.published.items(["item_id", "has_content"]).to_pylist()
    assert {point["item_id"] for point in space["points"]} == {row["item_id"] for row in held if row["has_content"]}
    assert space["items"] == len(space["points"])
    assert space["colourings"][0]["name"] == "genre"
    for point in space["points"]:
        assert max(abs(point["x"]), abs(point["y"])) <= 1
        for group, colouring in zip(point["groups"], space["colourings"], strict=True):
            assert 0 <= group < len(colouring["values"])


def test_the_map_of_many_items_is_of_a_sample(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.web.space.MAX_POINTS", 20)
    space = space_of(serving.now.index, serving.now.catalogue)
    assert len(space.points) == 20 < space.items
    assert space == space_of(serving.now.index, serving.now.catalogue)


NOTHING = "not in the published index"
WRONG = [
    ("recommend", {"user": "nobody"}, 404, f"user nobody: {NOTHING}"),
    ("recommend", {"history": ["nothing"]}, 404, f"history: nothing: {NOTHING}"),
    ("recommend", {}, 400, "user: ask for a user"),
    ("recommend", {"user": USER, "k": 0}, 422, "k: Input should be greater than or equal to 1"),
    ("recommend", {"user": USER, "k": 101}, 422, "k: Input should be less than or equal to 100"),
    ("recommend", {"user": USER, "wrong": 1}, 422, "wrong: Extra inputs are not permitted"),
    (
        "recommend",
        {"user": USER, "filter": {"shape": "round"}},
        400,
        "filter: items have no attribute 'shape'; they have",
    ),
    ("recommend", {"user": USER, "filter": {"text": "x"}}, 400, "filter: items have no attribute 'text'"),
    ("recommend", {"user": USER, "filter": {str(n): 1 for n in range(51)}}, 422, "filter: Value error, has 51 entries"),
    (
        "recommend",
        {"user": USER, "filter": {"year": {str(n): 1 for n in range(51)}}},
        422,
        "filter.year: Value error, has",
    ),
    ("recommend", {"user": USER, "filter": {"year": "often"}}, 400, "filter: year is int32, to which 'often'"),
    ("similar", {"item": "nothing"}, 404, f"item nothing: {NOTHING}"),
    ("similar", {}, 422, "item: Field required"),
    ("explain", {"item": "nothing", "user": USER}, 404, f"item nothing: {NOTHING}"),
    ("explain", {"item": "rec-0003", "user": "nobody"}, 404, f"user nobody: {NOTHING}"),
    ("explain", {"item": "rec-0003", "other": "nothing"}, 404, f"item nothing: {NOTHING}"),
    ("explain", {"item": "rec-0003"}, 400, "user: ask for a user and an item, for a history"),
]


@pytest.mark.parametrize(("path", "question", "status", "sentence"), WRONG)
def test_a_wrong_question_is_one_sentence_that_names_the_argument(
    client: httpx.Client, path: str, question: dict[str, Any], status: int, sentence: str
) -> None:
    answer = client.post(f"/api/{path}", json=question)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"].startswith(sentence)


def test_a_wrong_search_is_one_sentence(client: httpx.Client) -> None:
    def said(status: int, **request: Any) -> str:
        answer = client.post("/api/search", **request)
        assert answer.status_code == status, answer.text
        return answer.json()["error"]

    assert said(400, data={"k": "3"}).startswith("text: ask for any of an item")
    assert said(400, files={"image": ("a.png", b"no picture")}).startswith("image: not a readable picture")
    assert said(400, files={"audio": ("a.wav", b"<html>")}).startswith("audio: not a readable clip (an HTML page)")
    assert said(400, files={"image": ("a.png", b"")}).startswith("image: the file is empty")
    assert said(400, data={"text": "x", "filter": "{"}).startswith("filter: Invalid JSON")
    assert said(400, data={"text": "x", "weights": '{"audio": 1}'}).startswith("weights: audio is not asked for")
    assert said(400, data={"item": "rec-0005", "weights": '{"item": 1e39}'}).startswith(
        "weights.item: Input should be less"
    )
    assert said(422, data={"text": "x" * 2001}).startswith("text: String should have at most 2000")
    broken = client.post("/api/recommend", content=b'{"k": }', headers={"content-type": "application/json"})
    assert broken.status_code == 422
    assert broken.json() == {"error": "the request: no JSON (Expecting value, at character 6)"}
    assert client.get("/nowhere").json() == {
        "error": "there is no such page; / is the page, /docs says what can be asked"
    }


def test_a_fault_is_a_sentence_and_not_a_traceback(
    client: httpx.Client, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(item: str) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(serving.now.catalogue, "view", broken)
    answer = client.get("/api/item", params={"item": "rec-0003"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "a fault here, not in the question; the service's log has it"}
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_openapi_describes_every_route_with_its_errors(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    routes = [(path, route) for path, methods in document["paths"].items() for route in methods.values()]
    assert {path for path, _ in routes} >= {f"/api/{name}" for name in ("recommend", "similar", "search", "explain")}
    for path, route in routes:
        assert len(route["summary"]) > 5, path
        assert len(route["description"]) > 5, path
        for status in ("400", "401", "403", "404", "413", "422", "429", "503"):
            schema = route["responses"][status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Refusal"}, (path, status)
    written = json.dumps(document)
    assert "examples" in written
    assert "HTTPValidationError" not in written


def test_a_title_of_markup_is_found_and_given_as_it_is(client: httpx.Client) -> None:
    with_markup = client.get("/api/items", params={"q": "onerror"}).json()["items"]
    assert [item["title"] for item in with_markup] == [MARKUP]


def test_a_recording_of_the_browsers_kind_is_read(client: httpx.Client) -> None:
    buffer, seconds = io.BytesIO(), np.arange(48_000) / 48_000
    soundfile.write(buffer, 0.3 * np.sin(2 * np.pi * 440 * seconds), 48_000, format="WAV", subtype="PCM_16")
    assert len(ids(client.post("/api/search", files={"audio": ("recording.wav", buffer.getvalue())}))) == 12
