"""What the steps of a night did: missing rows per modality with their reasons, and where time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.artefacts.runs import StepReceipt, total
from pipeline.artefacts.shards import Summary, kind_of

MAX_REASONS = 6
MAX_EXAMPLES = 6


@dataclass(frozen=True)
class Example:
    """An item that a reason applied to, and the whole reason."""

    item_id: str
    title: str
    reason: str


@dataclass(frozen=True)
class Reason:
    """Why rows are missing in one modality; `absent` if the item never had one, rather than an unusable one."""

    text: str
    rows: int
    absent: bool
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class ModalityCount:
    """One modality over all buckets: rows = present + missing, and `encoded` of them were computed this night."""

    modality: str
    model: str
    width: int
    rows: int
    encoded: int
    missing: int
    reasons: tuple[Reason, ...]

    @property
    def absent(self) -> int:
        """Rows whose item has no such modality at all."""
        return sum(reason.rows for reason in self.reasons if reason.absent)

    @property
    def unusable(self) -> int:
        """Rows whose text, image or clip could not be used."""
        return self.missing - self.absent


def buckets_of(receipts: Iterable[StepReceipt], modality: str) -> list[StepReceipt]:
    """The receipts of a modality's buckets."""
    return [receipt for receipt in receipts if receipt.step.startswith(f"extract.{modality}.bucket-")]


def example_ids(receipts: Iterable[StepReceipt]) -> set[str]:
    """The ids of all items that a receipt names as an example, so that their titles can be looked up."""
    return {item_id for receipt in receipts for item_id, _ in receipt.details.get("examples", ())}


def modality_of(name: str, buckets: Sequence[StepReceipt], titles: Mapping[str, str]) -> ModalityCount:
    """A modality, summed over the receipts of its buckets. titles: of items, by id."""
    whole, details = total(name, buckets), buckets[0].details
    reasons = _reasons(name, [receipt.noted(Summary) for receipt in buckets], titles)
    return ModalityCount(
        name, details["model"], details["d"], whole.rows, whole.encoded_rows, whole.missing_rows, reasons
    )


def _reasons(name: str, summaries: Iterable[Summary], titles: Mapping[str, str]) -> tuple[Reason, ...]:
    rows: Counter[str] = Counter()
    examples: dict[str, list[Example]] = {}
    for summary in summaries:
        rows.update(summary.errors)
        for item_id, reason in summary.examples:
            examples.setdefault(kind_of(reason), []).append(Example(item_id, titles.get(item_id, item_id), reason))
    ranked = sorted(rows.items(), key=lambda entry: (-entry[1], entry[0]))
    reasons = [
        Reason(text, count, text == f"no {name}", tuple(examples.get(text, ())[:MAX_EXAMPLES]))
        for text, count in ranked[:MAX_REASONS]
    ]
    if rarer := ranked[MAX_REASONS:]:
        reasons.append(Reason(f"{len(rarer)} rarer reasons", sum(count for _, count in rarer), False, ()))
    return tuple(reasons)


def steps_of(
    receipts: Iterable[StepReceipt], order: Sequence[str], modalities: Sequence[str]
) -> tuple[StepReceipt, ...]:
    """Where time went, in the order of the night; a step's buckets become one."""
    grouped: dict[str, list[StepReceipt]] = {}
    for receipt in receipts:
        grouped.setdefault(receipt.step.split(".bucket-")[0], []).append(receipt)

    def place(name: str) -> tuple[int, int, str]:
        step, _, modality = name.partition(".")
        return _rank(step, order), _rank(modality, modalities), name

    return tuple(total(name, grouped[name]) for name in sorted(grouped, key=place))


def _rank(name: str, names: Sequence[str]) -> int:
    return list(names).index(name) if name in names else len(names)
