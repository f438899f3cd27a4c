"""What the steps of a night did: missing rows per modality with their reasons, and where time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pipeline.report.files import Document, RunFiles, count, read_json, section
from pipeline.report.model import Example, ModalityCount, Reason, StepTime

MAX_REASONS = 6
MAX_EXAMPLES = 6


def without_vector_of(documents: Iterable[Document]) -> dict[str, int]:
    """Reads from the receipt of `fuse` how many users have no vector, by reason."""
    details = next((section(document, "details") for document in documents if _step(document) == "fuse"), {})
    return {reason: count(users) for reason, users in section(details, "users_without_vector").items()}


def receipts(run: RunFiles) -> tuple[Document, ...]:
    """Reads every receipt of the run, by file name."""
    return tuple(read_json(path) for path in sorted((run.folder / "steps").glob("*.json")))


def example_ids(documents: Iterable[Document]) -> set[str]:
    """Returns the ids of all items that a receipt names as an example, so that their titles can be looked up."""
    return {item_id for document in documents for item_id, _ in _examples(document)}


def modalities_of(
    documents: Iterable[Document], names: Sequence[str], titles: Mapping[str, str]
) -> tuple[ModalityCount, ...]:
    """Sums the receipts of extraction over buckets, per modality in the order of names; titles: of items, by id."""
    by_modality: dict[str, list[Document]] = {name: [] for name in names}
    for document in documents:
        step, _, name = _step(document).partition(".")
        if step == "extract" and name in by_modality:
            by_modality[name].append(document)
    return tuple(_modality(name, receipts, titles) for name, receipts in by_modality.items() if receipts)


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
        for reason, n in errors.items():
            rows[_kind(reason)] += count(n)
        for item_id, reason in _examples(document):
            examples.setdefault(_kind(reason), []).append(Example(item_id, titles.get(item_id, item_id), reason))
    ranked = sorted(rows.items(), key=lambda entry: (-entry[1], entry[0]))
    shown = [
        Reason(text, n, text == f"no {name}", tuple(examples.get(text, ())[:MAX_EXAMPLES]))
        for text, n in ranked[:MAX_REASONS]
    ]
    rest = ranked[MAX_REASONS:]
    if rest:
        shown.append(Reason(f"{len(rest)} rarer reasons", sum(n for _, n in rest), False, ()))
    return tuple(shown)


def _kind(reason: str) -> str:
    """Cuts off what differs from row to row: `file not found: a.jpg` is one reason for all files."""
    kind = reason.split(":")[0]
    return (kind if ")" in kind else kind.split(" (")[0]).strip()


def _examples(document: Document) -> list[tuple[str, str]]:
    examples = section(document, "details").get("examples")
    pairs = examples if isinstance(examples, list) else []
    return [(str(pair[0]), str(pair[1])) for pair in pairs if isinstance(pair, list) and len(pair) == 2]


def steps_of(documents: Iterable[Document], order: Sequence[str], modalities: Sequence[str]) -> tuple[StepTime, ...]:
    """Returns where time went, in the order of the night; a step's buckets become one line."""
    grouped: dict[str, list[Document]] = {}
    for document in documents:
        grouped.setdefault(_step(document), []).append(document)

    def place(name: str) -> tuple[int, int, str]:
        step, _, modality = name.partition(".")
        return _rank(step, order), _rank(modality, modalities), name

    names = sorted(grouped, key=place)
    return tuple(_step_time(name, grouped[name]) for name in names)


def _rank(name: str, names: Sequence[str]) -> int:
    return list(names).index(name) if name in names else len(names)


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
