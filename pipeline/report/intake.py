"""What the steps of a night did: missing rows per modality with their reasons, and where time went."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.artefacts.runs import StepReceipt, total
from pipeline.artefacts.shards import Summary, kind_of
from pipeline.report.items import Item
from pipeline.report.pictures import Tile

# What ends the name of one of a step's parts.
NUMBERED = re.compile(r"\.(bucket|part)-.*")
MAX_REASONS = 6
MAX_EXAMPLES = 6


@dataclass(frozen=True)
class Example:
    """An item that a reason applied to, the whole reason, and the item's picture, if that can be read anyway."""

    item_id: str
    title: str
    reason: str
    picture: str = ""


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


def example_ids(receipts: Iterable[StepReceipt], modalities: Iterable[str]) -> set[str]:
    """The ids of all items that are shown as an example, so that they can be looked up."""
    receipts = list(receipts)
    shown = (_examples(buckets_of(receipts, name)) for name in modalities)
    return {item_id for of_kind in shown for examples in of_kind.values() for item_id, _ in examples}


def modality_of(
    name: str, buckets: Sequence[StepReceipt], items: Mapping[str, Item], tiles: Mapping[str, Tile]
) -> ModalityCount:
    """A modality, summed over the receipts of its buckets. items, tiles: of those that are examples, by id."""
    whole, details = total(name, buckets), buckets[0].details

    def example(item_id: str, reason: str) -> Example:
        if item_id not in items:
            return Example(item_id, item_id, reason)
        return Example(item_id, items[item_id].title, reason, tiles[item_id].picture)

    examples = {
        kind: tuple(example(item_id, reason) for item_id, reason in of_kind)
        for kind, of_kind in _examples(buckets).items()
    }
    return ModalityCount(
        name,
        details["model"],
        details["d"],
        whole.rows,
        whole.encoded_rows,
        whole.missing_rows,
        _reasons(name, buckets, examples),
    )


def _examples(buckets: Sequence[StepReceipt]) -> dict[str, list[tuple[str, str]]]:
    """The first items of each kind of reason, and the whole reason."""
    examples: dict[str, list[tuple[str, str]]] = {}
    for receipt in buckets:
        for item_id, reason in receipt.noted(Summary).examples:
            of_kind = examples.setdefault(kind_of(reason), [])
            of_kind += [(item_id, reason)] * (len(of_kind) < MAX_EXAMPLES)
    return examples


def _reasons(
    name: str, buckets: Sequence[StepReceipt], examples: Mapping[str, tuple[Example, ...]]
) -> tuple[Reason, ...]:
    rows: Counter[str] = Counter()
    for receipt in buckets:
        for reason, count in receipt.noted(Summary).errors.items():
            rows[kind_of(reason)] += count
    ranked = sorted(rows.items(), key=lambda entry: (-entry[1], entry[0]))
    reasons = [
        Reason(text, count, text == f"no {name}", examples.get(text, ())) for text, count in ranked[:MAX_REASONS]
    ]
    if rarer := ranked[MAX_REASONS:]:
        reasons.append(Reason(f"{len(rarer)} rarer reasons", sum(count for _, count in rarer), False, ()))
    return tuple(reasons)


def steps_of(
    receipts: Iterable[StepReceipt], order: Sequence[str], modalities: Sequence[str]
) -> tuple[StepReceipt, ...]:
    """Where time went, in the order of the night; a step's buckets, or parts, become one."""
    grouped: dict[str, list[StepReceipt]] = {}
    for receipt in receipts:
        grouped.setdefault(NUMBERED.sub("", receipt.step), []).append(receipt)

    def place(name: str) -> tuple[int, int, str]:
        step, _, modality = name.partition(".")
        return _rank(step, order), _rank(modality, modalities), name

    return tuple(total(name, grouped[name]) for name in sorted(grouped, key=place))


def _rank(name: str, names: Sequence[str]) -> int:
    return list(names).index(name) if name in names else len(names)
