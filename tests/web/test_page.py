"""The page in a real browser, at a desk's width and at a phone's: what is asked is answered, and nothing overflows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.serving import Index
from tests.browser import browser, resize, until
from tests.web.conftest import MARKUP, TOKEN, Started

WIDTHS = (1400, 390)
FAKE_MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
CARDS = "return [...document.querySelectorAll('.hit')].map((card) => card.dataset.item)"
ANSWERED = "return document.getElementById('answer').getAttribute('aria-busy') === 'false'"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser(tmp_path_factory.mktemp("browser"), *FAKE_MICROPHONE) as started:
        yield started


@pytest.fixture
def page(driver: Any, address: str) -> Any:
    """The page, opened afresh; its logs hold what it alone did."""
    return opened(driver, address)


def opened(driver: Any, address: str, pixels: int = 1400) -> Any:
    resize(driver, pixels)
    driver.get("about:blank")
    driver.get_log("browser"), driver.get_log("performance")
    driver.get(address)
    until(driver, "return document.documentElement.dataset.ready === 'yes'")
    until(driver, ANSWERED)
    return driver


def text(page: Any, selector: str) -> str:
    return str(page.execute_script("return document.querySelector(arguments[0]).textContent", selector))


def click(page: Any, selector: str) -> None:
    page.execute_script("document.querySelector(arguments[0]).click()", selector)


def enter(page: Any, selector: str, value: str, told: str = "change") -> None:
    """Writes into a field, as somebody who then leaves it, or types."""
    page.execute_script(
        "const input = document.querySelector(arguments[0]);"
        "input.value = arguments[1]; input.dispatchEvent(new Event(arguments[2]))",
        selector, value, told,
    )  # fmt: skip


def after(page: Any, act: Any) -> list[str]:
    """The cards of the answer to what is done."""
    before = page.execute_script("return document.getElementById('answer').dataset.answered")
    act()
    until(page, "return document.getElementById('answer').dataset.answered !== arguments[0]", before, seconds=60)
    assert page.execute_script("return document.getElementById('fault').hidden"), text(page, "#fault")
    return list(page.execute_script(CARDS))


def search(page: Any, words: str) -> list[str]:
    script = "document.getElementById('words').value = arguments[0]; document.getElementById('ask').requestSubmit()"
    return after(page, lambda: page.execute_script(script, words))


@pytest.mark.parametrize("pixels", WIDTHS)
def test_opens_offline_with_cards_and_nothing_overflows(driver: Any, address: str, index: Index, pixels: int) -> None:
    page = opened(driver, address, pixels)
    user = page.execute_script("return document.getElementById('user').value")
    assert page.execute_script(CARDS) == [hit.item_id for hit in index.recommend(user, k=12).hits]
    until(page, "return [...document.querySelectorAll('.hit img')].every((image) => image.complete)")
    pictures = "return [...document.querySelectorAll('.hit img')].filter((image) => image.naturalWidth > 0).length"
    assert page.execute_script(pictures) > 6
    page.execute_script("document.getElementById('filters').open = true")
    until(
        page, "document.getElementById('space').scrollIntoView(); return document.getElementById('space').dataset.ready"
    )
    assert page.execute_script("return document.documentElement.scrollWidth") <= pixels
    outside = page.execute_script("""
      return [...document.querySelectorAll("body *")]
        .filter((node) => !node.closest("svg, #people, .hidden, .skip, dialog"))
        .filter((node) => node.getBoundingClientRect().right > window.innerWidth + 1)
        .map((node) => node.tagName + "." + node.className);
    """)
    assert outside == []
    # A picture that is not there is a placeholder, which the browser notes.
    lines = [line["message"] for line in page.get_log("browser") if "/api/picture" not in line["message"]]
    assert lines == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith((address, "about:"))] == []


@pytest.mark.parametrize("pixels", WIDTHS)
def test_why_opens_bars_that_add_up_to_the_score(driver: Any, address: str, pixels: int) -> None:
    page = opened(driver, address, pixels)
    click(page, ".hit .do button[aria-label^=Why]")
    until(page, "return document.querySelector('dialog .bars')", seconds=60)
    tables = page.execute_script("""
      const number = (cell) => Number(cell.textContent.replace("−", "-"));
      return [...document.querySelectorAll(".bars")].map((table) => ({
        of: table.dataset.of, parts: [...table.querySelectorAll("tbody .n")].map(number),
        total: number(table.querySelector("tfoot .n")), exact: Number(table.querySelector("tfoot .n").dataset.total),
        widths: [...table.querySelectorAll(".lane i")].map((bar) => bar.getBoundingClientRect().width),
      }));
    """)
    assert len(tables) >= 2
    for table in tables:
        assert sum(table["parts"]) == pytest.approx(table["total"], abs=6e-4)
        assert table["total"] == pytest.approx(table["exact"], abs=6e-5)
        largest = max(range(len(table["parts"])), key=lambda place, table=table: abs(table["parts"][place]))
        assert table["widths"][largest] == max(table["widths"]) > 20
    box = page.execute_script("return document.getElementById('dialog').getBoundingClientRect().toJSON()")
    assert 0 <= box["left"] < box["right"] <= pixels
    assert page.execute_script("return document.getElementById('dialog').scrollWidth") <= box["width"]


def test_words_are_searched_by_in_the_order_of_the_user(page: Any, index: Index) -> None:
    user = page.execute_script("return document.getElementById('user').value")
    found = search(page, "a slow evening")
    assert found == [hit.item_id for hit in index.search(text="a slow evening", user=user, k=12).hits]
    assert "a slow evening" in text(page, "#asked")
    assert user in text(page, "#headline")
    back = after(page, lambda: click(page, "#asked button"))
    assert back == [hit.item_id for hit in index.recommend(user, k=12).hits]


def test_similar_items_and_why_they_are(page: Any, index: Index) -> None:
    first = page.execute_script(CARDS)[0]
    alike = after(page, lambda: click(page, ".hit .do button[aria-label^=Similar]"))
    assert alike == [hit.item_id for hit in index.similar(first, k=12).hits]
    click(page, ".hit .do button[aria-label^=Why]")
    until(page, "return document.querySelector('.bars[data-of=cosine]')", seconds=60)


def test_filters_leave_what_passes_and_can_be_cleared(page: Any, index: Index) -> None:
    user = page.execute_script("return document.getElementById('user').value")
    box = "fieldset[data-facet=genre] input[type=checkbox]"
    genre = page.execute_script("return document.querySelector(arguments[0]).value", box)
    filtered = after(page, lambda: click(page, box))
    assert filtered == [hit.item_id for hit in index.recommend(user, k=12, filter={"genre": [genre]}).hits]
    assert text(page, "#filtered") == "genre"
    low = "fieldset[data-facet=year] input"
    both = after(page, lambda: enter(page, low, "2000"))
    wanted = {"genre": [genre], "year": (2000, None)}
    assert both == [hit.item_id for hit in index.recommend(user, k=12, filter=wanted).hits]
    assert len(after(page, lambda: click(page, "#clear"))) == 12


def test_a_history_is_built_by_clicking_and_explained(page: Any, index: Index) -> None:
    first, second = page.execute_script(CARDS)[:2]
    choose = f".hit[data-item='{first}'] .do button[aria-label^=Chose]"
    assert after(page, lambda: click(page, choose)) == [
        hit.item_id for hit in index.recommend(history=[first], k=12).hits
    ]
    title = index.title(second)
    enter(page, "#title", title, "input")
    until(page, "return document.querySelector('#found button')")
    both = after(page, lambda: click(page, "#found button"))
    history = [hit.item_id for hit in index.recommend(history=[first, second], k=12).hits]
    assert both == history
    click(page, ".hit .do button[aria-label^=Why]")
    until(page, "return document.querySelectorAll('.bars tbody tr').length === 3", seconds=60)


def test_a_picture_is_uploaded_and_searched_by(page: Any, index: Index, sleeve: tuple[str, Path]) -> None:
    click(page, "#as-new")
    send = page.find_element("css selector", "#picture").send_keys
    found = after(page, lambda: send(str(sleeve[1])))
    assert found == [hit.item_id for hit in index.search(image=sleeve[1], k=12).hits]
    assert sleeve[1].name in text(page, "#asked")


def test_the_microphone_is_recorded_and_searched_by(page: Any) -> None:
    click(page, "#record")
    until(page, "return document.getElementById('record').getAttribute('aria-pressed') === 'true'")
    until(page, "return /Stop [1-9]/.test(document.getElementById('record').textContent)")
    assert len(after(page, lambda: click(page, "#record"))) == 12
    assert "a sound" in text(page, "#headline")


def test_a_clip_is_played_on_its_card(page: Any) -> None:
    button = page.find_element("css selector", ".hit .play")
    # A browser plays a sound for a hand alone.
    button.click()
    until(page, "return document.querySelector('.hit .play').getAttribute('aria-pressed') === 'true'")
    button.click()
    until(page, "return document.querySelector('.hit .play').getAttribute('aria-pressed') === 'false'")


def test_a_title_that_tries_to_be_markup_stays_text(page: Any, client: httpx.Client) -> None:
    (item,) = client.get("/api/items", params={"q": "onerror"}).json()["items"]
    click(page, "#as-new")
    enter(page, "#title", "onerror", "input")
    until(page, "return document.querySelector('#found button')")
    assert text(page, "#found button") == MARKUP
    after(page, lambda: click(page, "#found button"))
    assert text(page, "#history li span") == MARKUP
    until(
        page, "document.getElementById('space').scrollIntoView(); return document.getElementById('space').dataset.ready"
    )
    until(page, "return document.querySelectorAll('img[src=x], main script, dialog script').length === 0")
    assert item["title"] == MARKUP
    noted = [line["message"] for line in page.get_log("browser") if "/api/picture" not in line["message"]]
    assert noted == []


def test_a_point_of_the_map_shows_its_item_by_mouse_and_by_keys(page: Any) -> None:
    until(
        page, "document.getElementById('space').scrollIntoView(); return document.getElementById('space').dataset.ready"
    )
    assert page.execute_script("return document.querySelectorAll('#space .ring').length") > 0
    page.execute_script("""
      const dot = document.querySelector("#space circle[data-item]").getBoundingClientRect();
      const at = { clientX: dot.left + dot.width / 2, clientY: dot.top + dot.height / 2, bubbles: true };
      document.getElementById("space").dispatchEvent(new PointerEvent("click", at));
    """)
    until(page, "return document.getElementById('dialog').open")
    assert text(page, "#dialog-title")
    page.execute_script("document.getElementById('dialog').close(); document.getElementById('space').focus()")
    key = "document.getElementById('space').dispatchEvent(new KeyboardEvent('keydown', { key: arguments[0] }))"
    page.execute_script(key, "ArrowRight")
    told = text(page, "#tip b")
    page.execute_script(key, "Enter")
    until(page, "return document.getElementById('dialog').open")
    assert text(page, "#dialog-title") == told


def test_what_is_refused_is_a_sentence_on_the_page(page: Any, started: Started) -> None:
    enter(page, "#user", "nobody")
    until(page, "return !document.getElementById('fault').hidden")
    assert text(page, "#fault") == "user nobody: not in the published index"
    assert page.execute_script(CARDS) == []


def test_a_token_is_asked_for_once(driver: Any, started: Started) -> None:
    address = str(started(token=TOKEN, rate="100000/second").base_url)
    resize(driver, 390)
    driver.get(address)
    until(driver, "return document.getElementById('gate').open")
    fill = "document.getElementById('token').value = arguments[0]; document.querySelector('#gate .main').click()"
    driver.execute_script(fill, "wrong")
    until(driver, "return !document.getElementById('gate-fault').hidden")
    driver.execute_script(fill, TOKEN)
    until(driver, ANSWERED)
    assert len(driver.execute_script(CARDS)) > 0
    until(driver, "return [...document.querySelectorAll('.hit img')].some((image) => image.naturalWidth > 0)")


def test_the_description_can_be_read_here(driver: Any, address: str) -> None:
    resize(driver, 390)
    driver.get(f"{address}/docs")
    until(driver, "return document.documentElement.dataset.ready === 'yes'")
    assert "POST /api/search" in text(driver, "#routes")
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
