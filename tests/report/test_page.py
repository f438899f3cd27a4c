"""The page works in a real browser, offline: no error, no request, hovering shows the item, nothing overflows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.report import RunFiles, write_report
from tests.browser import browser
from tests.browser import resize as _width
from tests.browser import until as _until
from tests.report.conftest import change, write_earlier

WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui", reason="selenium is not installed").WebDriverWait
# The place of each point in the window, and its distance to the nearest other one.
PLACES = """
const space = document.getElementById("space"), box = space.getBoundingClientRect();
const points = JSON.parse(document.getElementById("data").textContent).map.points.map((p) => ({
  id: p.id, title: p.title, picture: p.picture,
  x: box.left + box.width * (0.5 + p.x / 2.12), y: box.top + box.height * (0.5 - p.y / 2.18),
}));
const room = (p) => Math.min(...points.filter((q) => q !== p).map((q) => Math.hypot(p.x - q.x, p.y - q.y)));
return points.map((p) => ({...p, room: room(p)}));
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def page(driver: Any, shared_run: RunFiles, tmp_path: Path) -> Any:
    """The report, opened afresh at 1400 pixels; its logs hold what it alone did."""
    if not (shared_run.folder.with_name("night-0")).exists():
        change(write_earlier(shared_run) / "run.json", lambda opened: opened["config"].update(note="of old " * 20))
    write_report(shared_run, tmp_path / "report.html")
    _width(driver, 1400)
    driver.get("about:blank")
    driver.get_log("browser"), driver.get_log("performance")
    driver.get((tmp_path / "report.html").as_uri())
    _until(driver, "return document.documentElement.dataset.ready === 'yes'")
    return driver


def _hover(page: Any, point: dict[str, Any]) -> None:
    """Moves the mouse onto a point, again where a scroll or a resize that came late moved it away."""

    def shown(driver: Any) -> bool:
        now = next(place for place in _places(driver) if place["id"] == point["id"])
        for shift in (3, 0):
            move = {"type": "mouseMoved", "x": now["x"] + shift, "y": now["y"]}
            driver.execute_cdp_cmd("Input.dispatchMouseEvent", move)
        return bool(driver.execute_script("return !document.getElementById('tip').hidden"))

    WebDriverWait(page, 20).until(shown)


def _hide_pictures(page: Any) -> None:
    page.execute_script("document.getElementById('pictures').click()")
    _until(page, "return !document.querySelector('#space image')")


def _places(page: Any) -> list[dict[str, Any]]:
    page.execute_script("document.getElementById('space').scrollIntoView({behavior: 'instant', block: 'center'})")
    return sorted(page.execute_script(PLACES), key=lambda point: -point["room"])


def _text(page: Any, selector: str) -> str:
    return str(page.execute_script("return document.querySelector(arguments[0]).textContent", selector))


def test_opens_offline_without_an_error_or_a_request(page: Any) -> None:
    assert page.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url[:60] for url in asked if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1


def test_hovering_a_point_shows_its_title_and_picture(page: Any) -> None:
    _hide_pictures(page)
    point = next(point for point in _places(page) if point["picture"])
    _hover(page, point)
    assert _text(page, "#tip b") == point["title"]
    _until(page, "return document.querySelector('#tip img').naturalWidth > 0")
    assert page.execute_script("return document.querySelector('#tip img').src") == point["picture"]


def test_hovering_a_point_without_a_picture_shows_its_placeholder(page: Any) -> None:
    _hide_pictures(page)
    point = next(point for point in _places(page) if not point["picture"])
    _hover(page, point)
    assert _text(page, "#tip b") == point["title"]
    assert _text(page, "#tip .tile")


def test_hovering_a_picture_on_the_map_shows_that_item(page: Any) -> None:
    pictures = "[...document.querySelectorAll('#space image')]"
    sources = page.execute_script(f"return {pictures}.map((image) => image.getAttribute('href'))")
    assert sources
    point = next(point for point in _places(page) if point["picture"] in sources)
    _hover(page, point)
    assert _text(page, "#tip b") == point["title"]


def test_a_title_that_tries_to_be_markup_stays_text(page: Any) -> None:
    assert page.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    assert "<script>alert(1)" in _text(page, "#data").encode().decode("unicode_escape")
    point = next(point for point in _places(page) if "alert(1)" in point["title"])
    _hide_pictures(page)
    _hover(page, point)
    assert "alert(1)" in _text(page, "#tip")
    assert page.get_log("browser") == []


def test_choosing_a_metric_shows_its_panels_alone(page: Any) -> None:
    shown = "return [...document.querySelectorAll('.metric:not([hidden])')].map((view) => view.dataset.metric)"
    assert page.execute_script(shown) == ["ndcg@10"]
    page.execute_script("document.querySelectorAll('#family button')[1].click()")
    assert page.execute_script(shown) == ["recall@10"]
    page.execute_script("document.querySelectorAll('#cutoff button')[0].click()")
    assert page.execute_script(shown) == ["recall@5"]
    page.execute_script("document.querySelectorAll('#family button')[2].click()")
    assert page.execute_script(shown) == ["coverage@10"]


def test_a_key_of_the_map_shows_its_items_alone(page: Any) -> None:
    _hide_pictures(page)
    visible = "return new Set([...document.querySelectorAll('#space circle')].map((dot) => dot.style.fill)).size"
    assert page.execute_script(visible) == 3
    page.execute_script("document.querySelector('#keys button').click()")
    _until(page, visible + " === 1")


def test_curves_mark_the_chosen_epoch(page: Any) -> None:
    assert "chosen: epoch 6" in _text(page, "#ndcg")
    assert "chosen: epoch 6" in _text(page, "#loss")


def test_ten_shelves_show_cards_whose_pictures_load(page: Any) -> None:
    assert page.execute_script("return document.querySelectorAll('.shelf').length") == 10
    assert page.execute_script("return [...document.querySelectorAll('.card img')].every((i) => i.naturalWidth > 0)")
    cards = "return [...document.querySelectorAll('.shelf .next')].map((s) => s.querySelectorAll('.card').length)"
    assert page.execute_script(cards) == [8] * 10


def test_pointing_at_a_recommendations_bar_shows_its_sum(page: Any) -> None:
    bar = "document.querySelectorAll('.next .bar.score')[3]"
    page.execute_script(bar + ".scrollIntoView({behavior: 'instant', block: 'center'})")
    shown = "return document.getElementById('tip').hidden === false"

    def pointed(driver: Any) -> bool:
        box = driver.execute_script(
            f"const b = {bar}.getBoundingClientRect(); return [b.left + b.width / 2, b.top + 3]"
        )
        # From outside each time: a scroll that is told of late hides what was shown.
        for x, y in ((2, 2), box):
            driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})
        return bool(driver.execute_script(shown))

    WebDriverWait(page, 20).until(pointed)
    score = json.loads(page.execute_script(f"return {bar}.dataset.score"))
    assert score["title"] in _text(page, "#tip")
    assert all(name in _text(page, "#tip") and value in _text(page, "#tip") for name, value, _ in score["rows"])
    assert _text(page, "#tip .whole + b") == score["sum"][1]
    page.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 2, "y": 2})
    _until(page, "return document.getElementById('tip').hidden")


@pytest.mark.parametrize("pixels", [390, 768, 1400])
def test_nothing_overflows_sideways(page: Any, pixels: int) -> None:
    _width(page, pixels)
    page.refresh()
    _until(page, "return document.documentElement.dataset.ready === 'yes'")
    assert page.execute_script("return document.documentElement.scrollWidth") <= pixels
    outside = page.execute_script("""
      const scrolls = (node) => node.closest(".cards, .scroll table, nav .scroll, svg, #tip");
      return [...document.querySelectorAll("body *")]
        .filter((node) => !scrolls(node) && node.getBoundingClientRect().right > window.innerWidth + 1)
        .map((node) => node.tagName + "." + node.className);
    """)
    assert outside == []


def test_a_narrow_page_cuts_no_table_off_and_keeps_its_first_column(page: Any) -> None:
    _width(page, 390)
    page.refresh()
    _until(page, "return document.documentElement.dataset.ready === 'yes'")
    cut, wide = page.execute_script("""
      const tables = [...document.querySelectorAll("table")].filter((table) => table.offsetParent);
      const box = (node) => node.getBoundingClientRect();
      const scrolls = (table) => getComputedStyle(table.parentNode).overflowX === "auto";
      const wide = tables.filter((table) => box(table).width > box(table.parentNode).width + 1);
      wide.forEach((table) => { table.parentNode.scrollLeft = 1e4; });
      const left = (table) => Math.min(...[...table.querySelectorAll("tbody tr > :first-child:not([colspan])")]
        .map((cell) => Math.abs(box(cell).left - box(table.parentNode).left)));
      return [tables.filter((table) => !scrolls(table)).length, wide.map(left)];
    """)
    assert cut == 0
    assert wide
    assert max(wide) < 1


@pytest.mark.parametrize("pixels", [390, 1400])
def test_the_bar_of_contents_stays_in_sight_and_leads_to_headings_below_it(page: Any, pixels: int) -> None:
    _width(page, pixels)
    links = page.execute_script("return [...document.querySelectorAll('.contents a')].map((a) => a.hash)")
    assert links[0] == "#last-night"
    for link in links[:-1]:
        page.execute_script(
            "document.documentElement.style.scrollBehavior = 'auto'; location.hash = arguments[0]", link
        )
        bar, heading = page.execute_script(
            "const box = (selector) => document.querySelector(selector).getBoundingClientRect();"
            "return [box('.contents').toJSON(), box(arguments[0] + ' h2').toJSON()]",
            link,
        )
        assert bar["top"] == 0
        assert bar["bottom"] <= heading["top"] < 900
