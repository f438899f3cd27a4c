"""The gate: what must hold before the published index is replaced, judged on numbers alone.

| verdict | passes where |
|---|---|
| quality | the model's mean of `rules.metric` on `rules.segment` exceeds `rules.min_ratio` times the baseline's |
| strongest | the baseline that validation takes for the strongest is not better beyond chance, by `paired` |
| index_recall | the index's recall@10 against exact search is `rules.min_index_recall` or more |
| integrity | every file of the index has the sha256 that it was written with |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.config.sections import Gate
from pipeline.evaluation.significance import LEVEL, Summary
from pipeline.workspace import Json

# Segment to model to metric to its `mean`, as `test` of metrics.json.
Measured = Mapping[str, Mapping[str, Summary]]


@dataclass(frozen=True)
class Verdict:
    """One condition of the gate: the value that was measured, the limit it was held against, and both in a sentence.

    value, limit: None where the condition could not be measured.
    """

    name: str
    passed: bool
    value: float | None
    limit: float | None
    sentence: str


def quality(measured: Measured, model: str, rules: Gate) -> Verdict:
    """Whether the evaluated model beats its baseline on the test part; not passed where one was not measured."""
    where = f"{rules.metric} on {rules.segment}"
    try:
        segment = measured[rules.segment]
        ours, theirs = (float(segment[name][rules.metric]["mean"]) for name in (model, rules.baseline))
    except KeyError as missing:
        return Verdict("quality", False, None, None, f"{where} was not measured: metrics.json has no {missing}")
    passed = ours > theirs * rules.min_ratio
    relation = "beats" if passed else "does not beat"
    times = "" if rules.min_ratio == 1 else f"{rules.min_ratio} × "
    sentence = f"{model} at {ours:.4f} {relation} {times}{rules.baseline} at {theirs:.4f} ({where})"
    return Verdict("quality", passed, ours, theirs * rules.min_ratio, sentence)


def strongest(paired: Json, model: str, rules: Gate) -> Verdict | None:
    """Whether the strongest baseline is not better beyond chance: its interval's and its p-value's word.

    paired: as in metrics.json. None where the rules do not ask, or nothing was compared.
    """
    difference = paired.get("models", {}).get(model)
    if not rules.refuse_worse or difference is None:
        return None
    high, worse = float(difference["high"]), difference["high"] < 0 and difference["p"] < LEVEL
    relation = "is below" if worse else "is not below"
    between = f"{difference['mean']:+.4f} [{difference['low']:+.4f}, {high:+.4f}]"
    sentence = f"{model} {relation} {paired['baseline']} beyond chance: {between} ({paired['metric']})"
    return Verdict("strongest", not worse, high, 0, sentence)


def index_recall(recall: float, rules: Gate) -> Verdict:
    """Whether the index finds what exact search finds. recall: recall@10 of the index as written."""
    limit = rules.min_index_recall
    relation = "reaches" if recall >= limit else "is below"
    return Verdict(
        "index_recall", recall >= limit, recall, limit, f"index recall@10 of {recall:.4f} {relation} {limit}"
    )


def integrity(written: Mapping[str, str], present: Mapping[str, str]) -> Verdict:
    """Whether the index's files are those that were written. Both: path in the workspace to sha256."""
    changed = [path for path, sha256 in written.items() if present.get(path) != sha256]
    sentence = f"all {len(written)} files of the index have the sha256 that was written"
    if changed:
        sentence = f"{changed[0]} is not the file that was written; run the night with --full"
    return Verdict("integrity", not changed, len(changed), 0, sentence)
