"""What differs from an earlier night: the newest that was published, or that was judged where none was.

Read are the earlier run's receipts, metrics and configuration, and the lists of a sample of users. What of them is
gone or broken is not compared, and a sentence says so; nothing here stops a night.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.artefacts.counts import Receipts, earlier_receipts, modality_of, staged_rows_of, summary_of, vectors_of
from pipeline.artefacts.evaluated import Evaluated
from pipeline.artefacts.model import FitDetails
from pipeline.artefacts.published import published_now
from pipeline.artefacts.runs import StepReceipt, runs, was_published
from pipeline.artefacts.tries import CHOSEN
from pipeline.evaluation.list_changes import ListChanges, list_changes_of
from pipeline.report.files import RunFiles
from pipeline.report.scores import Interval, interval, label
from pipeline.report.settings import Setting, changed
from pipeline.storage.documents import Json, skip_broken
from pipeline.workspace import Workspace

# Of the list that goes out, beside the gate's metric and segment: accuracy, new items, and how much of the catalogue.
SEGMENTS = ("all", "cold", "cold_among_all")
FAMILIES = ("ndcg", "recall", "coverage")


@dataclass(frozen=True)
class Count:
    """A number of both nights, None where one has none."""

    name: str
    before: int | None
    now: int | None

    @property
    def difference(self) -> int | None:
        """How many more; None where one night has no number."""
        return None if self.before is None or self.now is None else self.now - self.before


@dataclass(frozen=True)
class MetricChange:
    """A metric of the list that goes out, each night on its own test part."""

    metric: str
    segment: str
    before: Interval
    now: Interval

    @property
    def direction(self) -> str:
        """`above` or `below` where the two 95 % intervals do not meet; else empty."""
        if None in (self.before.low, self.before.high, self.now.low, self.now.high):
            return ""
        above, below = self.now.low > self.before.high, self.now.high < self.before.low  # type: ignore[operator]
        return "above" if above else "below" if below else ""


@dataclass(frozen=True)
class LastNight:
    """The earlier run and all that differs. replaced: parts, such as the model, that are others.

    not_compared: what could not be read of the earlier run, in words.
    """

    run_id: str
    as_of: str
    published: bool
    counts: tuple[Count, ...]
    metrics: tuple[MetricChange, ...]
    replaced: tuple[Setting, ...]
    settings: tuple[Setting, ...]
    lists: ListChanges | None
    not_compared: tuple[str, ...]


def last_night_of(run: RunFiles, receipts: Iterable[StepReceipt], evaluated: Evaluated) -> LastNight | None:
    """Compares a run, of which `receipts` and `evaluated` are, with an earlier one; None where it is the first."""
    opened = _earlier(run)
    if opened is None:
        return None
    folder = _folder(run, opened)
    before, unread = earlier_receipts(folder)
    now = {receipt.step: receipt for receipt in receipts}
    # A modality with a bucket that cannot be read is not compared at all: the others alone would be fewer rows.
    broken = {modality_of(name) for name in (unread if vectors_of(before) else now)} - {""}
    before, now = _without(broken, before), _without(broken, now)
    metrics = skip_broken(lambda: Evaluated.read(folder))
    lists = _lists(run, before) if "index" in before else None
    lost = {
        "items, users and interactions": summary_of(before) is None,
        **{f"{modality} vectors": True for modality in sorted(broken)},
        "the fusion": "fuse" not in before,
        "the model": metrics is None or "train" not in before,
        "metrics": metrics is None,
        "lists": lists is None,
    }
    return LastNight(
        run_id=str(opened["run_id"]),
        as_of=str(opened["as_of"]),
        published=was_published(folder),
        counts=tuple(_counts(before, now)),
        metrics=tuple(_metrics(metrics, evaluated, run)) if metrics else (),
        replaced=tuple(_replaced(_parts(before, metrics), _parts(now, evaluated))),
        settings=changed(opened["config"], run.config.model_dump(mode="json")),
        lists=lists,
        not_compared=tuple(what for what, is_lost in lost.items() if is_lost),
    )


def _folder(run: RunFiles, opened: Json) -> Path:
    return run.workspace / "runs" / str(opened["run_id"])


def _earlier(run: RunFiles) -> Json | None:
    """The published run, which the gate compares with too; where that is this one or cannot be read, the newest that
    began before it and was published, else the newest of them that was judged.
    """
    begun = runs(Workspace(run.workspace, read_only=True))
    own = next((place for place, other in enumerate(begun) if other["run_id"] == run.run_id), len(begun))
    current = skip_broken(lambda: published_now(run.workspace)) or {}
    others = (other for other in begun if other["run_id"] != run.run_id)
    earlier = begun[:own][::-1]
    judged = (other for other in earlier if (_folder(run, other) / "steps" / "publish.json").exists())
    replaced = (other for other in others if other["run_id"] == current.get("run_id"))
    return next(replaced, next((other for other in earlier if was_published(_folder(run, other))), next(judged, None)))


def _lists(run: RunFiles, before: Receipts) -> ListChanges | None:
    return list_changes_of(run.index, run.workspace / before["index"].path, run.config.seed)


def _without(modalities: Collection[str], receipts: Receipts) -> dict[str, StepReceipt]:
    return {name: receipt for name, receipt in receipts.items() if modality_of(name) not in modalities}


def _counts(before: Receipts, now: Receipts) -> Iterator[Count]:
    """Rows of both nights; of a modality, how many items have a vector and how many have none."""
    old, new = staged_rows_of(before), staged_rows_of(now)
    yield from (Count(name, old[name], new[name]) for name in new if old)
    old, new = _vectors(before), _vectors(now)
    yield from (Count(name, old.get(name), new.get(name)) for name in {**new, **old} if old)


def _vectors(receipts: Receipts) -> dict[str, int]:
    """Items with and without a vector, by modality."""
    counts: dict[str, int] = {}
    for modality, count in vectors_of(receipts).items():
        counts |= {f"{modality} vectors": count.present, f"without {modality}": count.missing}
    return counts


def _metrics(before: Evaluated, now: Evaluated, run: RunFiles) -> Iterator[MetricChange]:
    cutoff = run.rules.metric.partition("@")[2]
    metrics = dict.fromkeys([run.rules.metric, *(f"{family}@{cutoff}" for family in FAMILIES)])
    for segment in dict.fromkeys([run.rules.segment, *SEGMENTS]):
        for metric in metrics:
            old, new = (interval(own.test.get(segment, {}).get(own.trained, {}), metric) for own in (before, now))
            if old and new:
                yield MetricChange(metric, segment, old, new)


def _parts(receipts: Receipts, evaluated: Evaluated | None) -> dict[str, str]:
    """What a night was made of, by the names of its parts; without what cannot be told."""
    parts = {f"encoder of {name}": text for name, text in _encoders(receipts).items()}
    if "fuse" in receipts:
        parts["fusion"] = str(receipts["fuse"].details.get("kind", ""))
    if evaluated and "train" in receipts:
        parts["model"] = _model(evaluated.trained, receipts["train"])
        parts["re-ranker"] = "used" if evaluated.ranker.get("used") else "not used"
    return parts


def _encoders(receipts: Receipts) -> dict[str, str]:
    return {
        modality_of(name): str(receipt.details.get("model", ""))
        for name, receipt in sorted(receipts.items())
        if ".bucket-" in name
    }


def _model(trained: str, receipt: StepReceipt) -> str:
    """The model, and of a choice or a blend what goes out of it."""
    details = skip_broken(lambda: receipt.noted(FitDetails))
    tries = details.tries if details else {}
    weights = sorted(((name, tried.weight) for name, tried in tries.items() if name != CHOSEN), key=lambda own: -own[1])
    members = ", ".join(f"{label(name)} {weight:.0%}" for name, weight in weights if weight)
    return f"{label(trained)}: {members}" if members else label(trained)


def _replaced(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Setting]:
    """The parts that differ, as settings are shown; where one night has none, an encoder is one that came or went."""
    for name in dict.fromkeys([*now, *before]):
        old, new = before.get(name, ""), now.get(name, "")
        if old != new and ((old and new) or name.startswith("encoder")):
            yield Setting(name, new, old)
