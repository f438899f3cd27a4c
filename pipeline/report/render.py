"""Turns a Report into one self-contained HTML page.

- jinja2 with autoescape: titles, reasons and user ids are not trusted;
- data for the map and the curves goes into a `<script type="application/json">`, with `<`, `>` and `&` escaped;
- a content security policy allows inline data pictures and the page's own script (by its hash) and nothing
  else, so the page makes no network request and a script smuggled into a title would not run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.artefacts.model import Curves
from pipeline.config.fuse import FUSIONS
from pipeline.evaluation.hits import HITS
from pipeline.report.gather import Report
from pipeline.report.item_map import MapPoint
from pipeline.report.number_formats import FILTERS, finite
from pipeline.report.score_parts import BASE
from pipeline.report.scores import LACKING, label

FAMILIES = {
    **{name: (metric.TITLE, metric.MEANING) for name, metric in HITS.items()},
    "coverage": ("Coverage", "share of the catalogue that is in anybody's list"),
    "novelty": ("Novelty", "bits: how few users had chosen what is in the list, on average over it"),
    "diversity": ("Diversity", "how unlike each other a list's items are: 1 minus cosine, on average over its pairs"),
    "popularity_lift": ("Popularity lift", "how popular the lists' items are, over those that the users had chosen"),
}
SEGMENTS = {
    "all": ("Everything", "all test interactions, ranked over all items"),
    "warm": ("Warm items", "items the evaluated fit has seen, ranked over all items"),
    "cold": ("Cold items", "items held out of training, ranked among themselves"),
    "cold_among_all": ("Cold among all", "items held out of training, ranked over all items"),
    "new_users": ("New users", "a profile, and no choice before"),
    "cold_users": ("Cold users", "few choices in training"),
    "head": ("Head items", "the most chosen"),
    "tail": ("Tail items", "seen in training, but not the most chosen"),
    "all_modalities": ("All modalities", "items that lack none"),
    "co_choice": ("Chosen together", "items one user chose, found by each other's vectors: every modality, and fused"),
    "co_choice_cold": ("Chosen together, cold", "the same, one of the two held out of training"),
}
ABLATIONS = {
    "inference": "The trained model, its items made again from what is left, where they are made of content.",
    "refit": "The model trained again without it.",
}
GROUPS = {
    "first_stage": "the first stage’s score",
    "popularity_and_age": "its popularity and age",
    "activity": "how active the user is",
}
HUES = 8
PARTS = {"train": "training", "held_out": "held out with cold items"}


def render(report: Report) -> str:
    """Returns the page; it needs no other file and no network."""
    script = _script(_asset("page.js"))
    return (
        _environment(report)
        .get_template("page.html.j2")
        .render(
            report=report,
            families=FAMILIES,
            segments=_segments(report),
            fusion=_meaning(report.blend.kind),
            ablations=ABLATIONS,
            parts=PARTS,
            style=Markup(_asset("style.css")),
            script=script,
            policy=_policy(script),
            data=data_block({"map": _map(report), "curves": _curves(report.curves)}),
        )
    )


def data_block(value: Mapping[str, object]) -> Markup:
    """Returns JSON that cannot end its script element, whatever a title holds.

    Raises ValueError if there is a NaN in it.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _environment(report: Report) -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    hues = hues_of(report)

    def hue(kind: str) -> str:
        name, _, against = kind.partition(" ")
        return f"{hues[name]} {against}".strip() if name in hues else kind

    def part(name: str) -> str:
        return GROUPS.get(name, f"its {name}")

    def hued(rows: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
        return [(report.base_is if name == BASE else part(name), value, hue(kind)) for name, value, kind in rows]

    environment.filters.update(
        FILTERS, label=label, hue=hue, hued=hued, part=part, largest=largest, breakable=breakable
    )
    return environment


def breakable(name: str) -> Markup:
    """A setting's name that a narrow page breaks after its dots and underscores."""
    return Markup(re.sub(r"([._])", r"\1<wbr>", str(escape(name))))


def largest(rows: Mapping[str, int]) -> list[tuple[str, int]]:
    """The reasons that rows have, most frequent first."""
    return sorted(((reason, n) for reason, n in rows.items() if n), key=lambda entry: (-entry[1], entry[0]))


def _meaning(fusion: str) -> str:
    """What a kind of fusion says of itself; empty for one that is not installed any more."""
    return str(getattr(FUSIONS.find(fusion), "meaning", "")) if fusion in FUSIONS.names() else ""


def _segments(report: Report) -> dict[str, tuple[str, str]]:
    lacking = {f"{LACKING}{m.modality}": (f"No {m.modality}", "items that lack one") for m in report.modalities}
    return SEGMENTS | lacking


def hues_of(report: Report) -> dict[str, str]:
    """The style's classes of each modality, in the page's order, and of the re-ranker's other groups of inputs."""
    names = [name for name, _ in report.blend.overall.shares]
    names += [modality.modality for modality in report.modalities if modality.modality not in names]
    hues = {name: f"hue hue-{place % HUES}" for place, name in enumerate(names)}
    return {**{name: f"hue hue-{name}" for name in GROUPS}, **hues}


def _asset(name: str) -> str:
    return files("pipeline.report").joinpath(name).read_text("utf-8")


def _script(text: str) -> Markup:
    # A browser hashes the script after turning CR LF into LF, so the hash here must too.
    return Markup(text.replace("\r\n", "\n").replace("\r", "\n"))


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    allowed = f"img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"default-src 'none'; {allowed}; base-uri 'none'"


def _map(report: Report) -> dict[str, object]:
    return {
        "hues": hues_of(report),
        "colourings": [asdict(colouring) for colouring in report.map.colourings],
        "points": [_point(point) for point in report.map.points],
    }


def _point(point: MapPoint) -> dict[str, object]:
    return {
        "id": point.item.item_id,
        "title": point.item.title,
        "attributes": point.item.attributes,
        "x": round(point.x, 4),
        "y": round(point.y, 4),
        "n": point.interactions,
        "shares": [(name, round(share, 3)) for name, share in point.shares],
        "groups": point.groups,
        **asdict(point.tile),
    }


def _curves(curves: Curves) -> dict[str, object]:
    return {
        "chosen": curves.chosen_epochs or None,
        "evaluated": [
            (epoch["epoch"], finite(epoch.get("loss")), finite(epoch.get(curves.metric))) for epoch in curves.evaluated
        ],
        "published": [(epoch["epoch"], finite(epoch.get("loss"))) for epoch in curves.published],
    }
