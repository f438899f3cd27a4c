"""The gate: what must hold of a night before the published index is replaced, judged on numbers alone.

| verdict | holds where |
|---|---|
| quality | the model's mean of `rules.metric` on `rules.segment` exceeds `rules.min_ratio` times the baseline's |
| index_recall | the index's recall@10 against exact search is `rules.min_index_recall` or more, but for chance |
| index_latency | what a query reads takes at most `index.max_latency_ms` |
| integrity | every file of the index has the sha256 that it was written with |
| log_age | the newest interaction is at most `rules.max_log_age_days` old |

Against the baseline that validation takes for the strongest, quality refuses nothing that chance may explain: the
paired difference's interval and p-value have to agree. What is compared with the published night stands in
`pipeline.evaluation.drift`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pipeline.artefacts.published import INTEGRITY
from pipeline.config.sections import STRONGEST, Gate
from pipeline.evaluation.significance import LEVEL, Summary
from pipeline.storage.documents import Json

# Segment to model to metric to its `mean`, as `test` of metrics.json.
Measured = Mapping[str, Mapping[str, Summary]]
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Verdict:
    """One rule of the gate: the value that was measured, the limit it was held against, and both in a sentence.

    passed: False refuses the night. warning: it passed, but somebody should know. value, limit: None where the rule
    could not be measured.
    """

    name: str
    passed: bool
    value: float | None
    limit: float | None
    sentence: str
    warning: bool = False

    @property
    def mark(self) -> str:
        """`refused`, `warning` or `passed`."""
        return "refused" if not self.passed else "warning" if self.warning else "passed"


def verdict(rules: Gate, name: str, holds: bool, measured: tuple[float, float], said: str, setting: str) -> Verdict:
    """A rule that has a limit in the settings, named where it does not hold; it warns where it is in `warn_only`.

    measured: value and limit. setting: where that stands, among the gate's or with its path.
    """
    value, limit = measured
    where = setting if "." in setting else f"publish.gate.{setting}"
    warns = not holds and name in rules.warn_only
    sentence = f"{said} (limit {limit:g})" if holds else f"{said}; {where} is {limit:g}"
    return Verdict(name, holds or warns, value, limit, sentence, warns)


def quality(measured: Measured, model: str, rules: Gate, baseline: str, paired: Json) -> Verdict:
    """Whether the evaluated model beats its baseline on the test part; not passed where one was not measured.

    It warns where the model has less than the baseline, and passes all the same. baseline: the gate's by its name, or
    what stands in for the strongest, which `paired`, as in metrics.json, names.
    """
    where = f"{rules.metric} on {rules.segment}"
    by_chance = rules.baseline == STRONGEST and bool(paired)
    baseline = str(paired["baseline"]) if by_chance else baseline
    try:
        segment = measured[rules.segment]
        ours, theirs = (float(segment[name][rules.metric]["mean"]) for name in (model, baseline))
    except KeyError as missing:
        return Verdict("quality", False, None, None, f"{where} was not measured: metrics.json has no {missing}")
    limit = theirs * rules.min_ratio
    holds = ours > limit
    against = f"{ours / theirs:.2f} × {baseline} at {theirs:.4f}" if theirs > 0 else f"beside {baseline} at 0"
    said = f"{model} at {ours:.4f}, {against} ({where}; publish.gate.min_ratio is {rules.min_ratio:g})"
    difference = paired.get("models", {}).get(model) if by_chance else None
    if difference and not holds:
        chance = ours > 0 and not _worse(difference, theirs - limit)
        said += ", though chance may explain that" if chance else ", beyond chance"
        said += f": {difference['mean']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
        holds = chance
    passed = holds or "quality" in rules.warn_only
    return Verdict("quality", passed, ours, limit, said, passed and (_behind(ours, theirs) or not ours > limit))


def _worse(difference: Mapping[str, float], allowed: float) -> bool:
    """Whether a model is worse than its baseline by more than is allowed, beyond chance.

    difference: paired. allowed: below 0 where the model must be better; the p-value is of no difference at all.
    """
    return difference["high"] + allowed < 0 and (allowed < 0 or difference["p"] < LEVEL)


def _behind(ours: float, theirs: float) -> bool:
    """Whether a model has less than its baseline, as far as two digits tell."""
    return theirs > 0 and round(ours / theirs, 2) < 1


def index_recall(recall: float, high: float, rules: Gate) -> Verdict:
    """Whether the index finds what exact search finds.

    recall: recall@10 of the index as written, and the high end of its interval, which chance alone lies below.
    """
    limit = rules.min_index_recall
    said = f"index recall@10 of {recall:.4f}" + (f", as {limit:g} may be by chance" if recall < limit <= high else "")
    return verdict(rules, "index_recall", high >= limit, (recall, limit), said, "min_index_recall")


def index_latency(milliseconds: float, limit: float, rules: Gate) -> Verdict:
    """Whether a query of the index is as fast as it should be. milliseconds: of its work, counted."""
    said = f"a query of the index takes {milliseconds:g} ms of work"
    return verdict(rules, "index_latency", milliseconds <= limit, (milliseconds, limit), said, "index.max_latency_ms")


def integrity(written: Mapping[str, str], present: Mapping[str, str]) -> Verdict:
    """Whether the index's files are those that were written. Both: path in the workspace to sha256."""
    changed = [path for path, sha256 in written.items() if present.get(path) != sha256]
    sentence = f"all {len(written)} files of the index have the sha256 that was written"
    if changed:
        sentence = f"{changed[0]} is not the file that was written; run the night with --full"
    return Verdict(INTEGRITY, not changed, len(changed), 0, sentence)


def log_age(newest: datetime | None, as_of: datetime, rules: Gate) -> Verdict:
    """Whether the log has been fed lately. newest: when its newest interaction was, None where it has none."""
    limit = rules.max_log_age_days
    if newest is None:
        return Verdict("log_age", True, None, limit, "the log is empty", True)
    days = (as_of - newest).total_seconds() / DAY_SECONDS
    said = f"the newest interaction, of {newest:%Y-%m-%d %H:%M}, is {days:.1f} days old at “as of”"
    return verdict(rules, "log_age", days <= limit, (days, limit), said, "max_log_age_days")
