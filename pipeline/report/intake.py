"""What came in: the intake of the source tables, the split, and missing rows per modality with their reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pipeline.config import MODALITIES
from pipeline.report.files import Document, RunFiles, count, listing, read_json, section
from pipeline.report.model import Catalogue, Check, Example, Intake, ModalityCount, Reason, Split, StepTime

MAX_REASONS = 6
MAX_EXAMPLES = 6
_ORDER = ("ingest", *(f"extract.{name}" for name in MODALITIES), "fuse", "train", "evaluate", "index", "publish")
_PARTS = ("train", "validation", "test", "held_out")


def intake_of(split: Document) -> tuple[Intake, ...]:
    """Reads rows read, kept and dropped of each source table from `split.json`."""
    return tuple(
        Intake(
            str(entry.get("table", "")),
            count(entry.get("read")),
            count(entry.get("kept")),
            _largest(section(entry, "dropped")),
        )
        for entry in listing(split, "intake")
    )


def checks_of(split: Document) -> tuple[Check, ...]:
    """Reads the outcome of each check from `split.json`, those with offending rows first."""
    checks = (
        Check(str(c.get("name", "")), str(c.get("why", "")), count(c.get("rows")), str(c.get("level", "")))
        for c in listing(split, "checks")
    )
    return tuple(sorted(checks, key=lambda check: check.rows == 0))


def split_of(split: Document) -> Split:
    """Reads how the log was divided."""
    parts = section(split, "parts")
    return Split(
        str(split.get("kind") or ""),
        tuple((name, count(parts[name])) for name in _PARTS if name in parts),
        str(split.get("validation_cut") or ""),
        str(split.get("test_cut") or ""),
    )


def catalogue_of(split: Document, documents: Iterable[Document]) -> Catalogue:
    """Reads the sizes after staging, and who has no vector from the receipt of `fuse`."""
    details = next((section(document, "details") for document in documents if _step(document) == "fuse"), {})
    return Catalogue(
        items=count(split.get("items")),
        users=count(split.get("users")),
        interactions=sum(rows for _, rows in split_of(split).parts),
        cold_items=count(split.get("cold_items")),
        without_vector=_largest(section(details, "users_without_vector")),
    )


def receipts(run: RunFiles) -> tuple[Document, ...]:
    """Reads every receipt of the run, by file name."""
    return tuple(read_json(path) for path in sorted((run.folder / "steps").glob("*.json")))


def example_ids(documents: Iterable[Document]) -> set[str]:
    """Returns the ids of all items that a receipt names as an example, so that their titles can be looked up."""
    return {item_id for document in documents for item_id, _ in _examples(document)}


def modalities_of(documents: Iterable[Document], titles: Mapping[str, str]) -> tuple[ModalityCount, ...]:
    """Sums the receipts of extraction over buckets, per modality; `titles` maps an item id to its title."""
    by_modality: dict[str, list[Document]] = {name: [] for name in MODALITIES}
    for document in documents:
        name = _step(document).removeprefix("extract.")
        if name in by_modality and name != _step(document):
            by_modality[name].append(document)
    return tuple(_modality(name, found, titles) for name, found in by_modality.items() if found)


def _modality(name: str, documents: list[Document], titles: Mapping[str, str]) -> ModalityCount:
    details = section(documents[0], "details")
    return ModalityCount(
        modality=name,
        model=str(details.get("model") or ""),
        width=count(details.get("d")),
        rows=_total(documents, "rows"),
        encoded=_total(documents, "encoded_rows"),
        missing=_total(documents, "missing_rows"),
        reasons=_reasons(name, documents, titles),
    )


def _reasons(name: str, documents: list[Document], titles: Mapping[str, str]) -> tuple[Reason, ...]:
    rows: Counter[str] = Counter()
    examples: dict[str, list[Example]] = {}
    for document in documents:
        errors = section(section(document, "details"), "errors")
        for reason, found in errors.items():
            rows[_kind(reason)] += count(found)
        for item_id, reason in _examples(document):
            examples.setdefault(_kind(reason), []).append(Example(item_id, titles.get(item_id, item_id), reason))
    ranked = sorted(rows.items(), key=lambda entry: (-entry[1], entry[0]))
    shown = [
        Reason(text, found, text == f"no {name}", tuple(examples.get(text, ())[:MAX_EXAMPLES]))
        for text, found in ranked[:MAX_REASONS]
    ]
    rest = ranked[MAX_REASONS:]
    if rest:
        shown.append(Reason(f"{len(rest)} rarer reasons", sum(found for _, found in rest), False, ()))
    return tuple(shown)


def _kind(reason: str) -> str:
    """Cuts off what differs from row to row: `file not found: a.jpg` is one reason for all files."""
    kind = reason.split(":")[0]
    return (kind if ")" in kind else kind.split(" (")[0]).strip()


def _examples(document: Document) -> list[tuple[str, str]]:
    found = section(document, "details").get("examples")
    pairs = found if isinstance(found, list) else []
    return [(str(pair[0]), str(pair[1])) for pair in pairs if isinstance(pair, list) and len(pair) == 2]


def steps_of(documents: Iterable[Document]) -> tuple[StepTime, ...]:
    """Returns where time went, in the order of the night; a step's buckets become one line."""
    grouped: dict[str, list[Document]] = {}
    for document in documents:
        grouped.setdefault(_step(document), []).append(document)
    order = {name: rank for rank, name in enumerate(_ORDER)}
    names = sorted(grouped, key=lambda name: (order.get(name, len(order)), name))
    return tuple(_step_time(name, grouped[name]) for name in names)


def _step(document: Document) -> str:
    return str(document.get("step", "")).split(".bucket-")[0]


def _step_time(name: str, documents: list[Document]) -> StepTime:
    def total(key: str) -> int | None:
        return _total(documents, key) if any(document.get(key) is not None for document in documents) else None

    return StepTime(
        step=name,
        seconds=sum(float(str(document.get("seconds") or 0)) for document in documents),
        rows=total("rows"),
        encoded=total("encoded_rows"),
        missing=total("missing_rows"),
        peak_rss_bytes=max((count(document.get("peak_rss_bytes")) for document in documents), default=0) or None,
        skipped=all(bool(document.get("skipped")) for document in documents),
    )


def _total(documents: list[Document], key: str) -> int:
    return sum(count(document.get(key)) for document in documents)


def _largest(reasons: Document) -> tuple[tuple[str, int], ...]:
    found = [(reason, count(rows)) for reason, rows in reasons.items()]
    return tuple(sorted((entry for entry in found if entry[1]), key=lambda entry: (-entry[1], entry[0])))
