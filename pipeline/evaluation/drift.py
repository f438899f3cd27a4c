"""The gate's comparison of a night with what is published: a source that was cut, a model that got worse.

| verdict | holds where |
|---|---|
| as_of | the night's "now" is not before the published one's |
| metric | the published list's metric is not above this one's by more than a share, beyond chance |
| coverage | likewise, of the share of the catalogue that is in anybody's list; it has no interval |
| items, users, interactions | there are at least `rules.min_rows_ratio` times as many |
| newest_event | the log's newest interaction is not before the published log's by more than some days |
| missing | no modality lacks a vector for so many more of the items |
| lists | not more than a share of users have other first items |

What the published night's files do not tell is not compared: the rule then passes with a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.artefacts.evaluated import Evaluated
from pipeline.config.sections import Gate
from pipeline.evaluation.gate import DAY_SECONDS, Verdict, verdict
from pipeline.evaluation.list_changes import ListChanges


@dataclass(frozen=True)
class Facts:
    """What is compared of a night; empty or None where its files do not tell.

    rows: of items, users and interactions. missing: share of items without a vector, by modality. newest_event: when
    the log's newest interaction was.
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, float] = field(default_factory=dict)
    newest_event: datetime | None = None
    evaluated: Evaluated | None = None


def against_published(now: Facts, before: Facts, lists: ListChanges | None, rules: Gate) -> list[Verdict]:
    """Every rule but `as_of`. before: of the published night. lists: what differs in the users' lists."""
    return [
        _metric(now, before, rules),
        _coverage(now, before, rules),
        *_rows(now, before, rules),
        _newest_event(now, before, rules),
        _missing(now, before, rules),
        _lists(lists, rules),
    ]


def not_older(as_of: datetime, published: datetime, rules: Gate) -> Verdict:
    """Whether a night is not of an earlier moment than the published one."""
    days = (as_of - published).total_seconds() / DAY_SECONDS
    relation = "is not older than" if days >= 0 else "is older than"
    sentence = f"“as of” {as_of:%Y-%m-%d %H:%M:%S} {relation} the published {published:%Y-%m-%d %H:%M:%S}"
    warns = days < 0 and "as_of" in rules.warn_only
    return Verdict("as_of", days >= 0 or warns, days, 0, sentence, warns)


def not_compared(name: str, what: str, limit: float | None = None) -> Verdict:
    """A rule that passes, with a warning, for want of something. what: that cannot be read."""
    return Verdict(name, True, None, limit, f"not compared with the published night: {what}", True)


def _metric(now: Facts, before: Facts, rules: Gate) -> Verdict:
    where, limit = f"{rules.metric} on {rules.segment}", rules.min_published_ratio
    new, old = (_measured(facts, rules.metric, rules.segment) for facts in (now, before))
    if not new or not old:
        return not_compared("metric", f"{'its' if new else 'this one'} has no {where}", limit)
    ratio = _ratio(new["mean"], old["mean"])
    said = f"{where} is {new['mean']:.4f}, {ratio:.2f} × the published {old['mean']:.4f}"
    if ratio < limit and new.get("high", new["mean"]) >= old.get("low", old["mean"]):
        return Verdict("metric", True, ratio, limit, f"{said} (limit {limit:g}), though chance may explain that", True)
    return verdict(rules, "metric", ratio >= limit, (ratio, limit), said, "min_published_ratio")


def _coverage(now: Facts, before: Facts, rules: Gate) -> Verdict:
    name, limit = f"coverage@{rules.metric.partition('@')[2]}", rules.min_published_ratio
    new, old = (_measured(facts, name, "all") for facts in (now, before))
    if not new or not old:
        return not_compared("coverage", f"there is no {name}", limit)
    ratio = _ratio(new["mean"], old["mean"])
    said = f"{name} is {new['mean']:.3f}, {ratio:.2f} × the published {old['mean']:.3f}"
    return verdict(rules, "coverage", ratio >= limit, (ratio, limit), said, "min_published_ratio")


def _rows(now: Facts, before: Facts, rules: Gate) -> Iterator[Verdict]:
    limit = rules.min_rows_ratio
    for name in ("items", "users", "interactions"):
        if name not in now.rows or name not in before.rows:
            yield not_compared(name, f"the number of {name} is not known", limit)
            continue
        new, old = now.rows[name], before.rows[name]
        ratio = _ratio(new, old)
        said = f"{new} {name}, {ratio:.2f} × the published {old}"
        yield verdict(rules, name, ratio >= limit, (ratio, limit), said, "min_rows_ratio")


def _newest_event(now: Facts, before: Facts, rules: Gate) -> Verdict:
    limit = rules.max_log_age_days
    if now.newest_event is None or before.newest_event is None:
        return not_compared("newest_event", "when the newest interaction was is not known", limit)
    days = (before.newest_event - now.newest_event).total_seconds() / DAY_SECONDS
    relation = f"{days:.1f} days before" if days > 0 else "not before"
    said = f"the newest interaction is {relation} the published log's, {before.newest_event:%Y-%m-%d %H:%M}"
    return verdict(rules, "newest_event", days <= limit, (days, limit), said, "max_log_age_days")


def _missing(now: Facts, before: Facts, rules: Gate) -> Verdict:
    """The modality that lost the most; one that only one of the nights has is no loss."""
    limit = rules.max_missing_rise
    rises = {name: now.missing[name] - before.missing[name] for name in now.missing if name in before.missing}
    if not rises:
        return not_compared("missing", "no modality has its vectors counted on both nights", limit)
    name = max(rises, key=lambda modality: rises[modality])
    said = f"{now.missing[name]:.3f} of the items have no {name} vector, {rises[name]:+.3f} against what is published"
    return verdict(rules, "missing", rises[name] <= limit, (rises[name], limit), said, "max_missing_rise")


def _lists(lists: ListChanges | None, rules: Gate) -> Verdict:
    limit = rules.max_lists_changed
    if lists is None or not lists.users:
        return not_compared("lists", "nobody's list can be read on both nights", limit)
    share = lists.changed / lists.users
    said = f"{share:.2f} of {lists.users} users have another first {lists.head} than published"
    return verdict(rules, "lists", share <= limit, (share, limit), said, "max_lists_changed")


def _measured(facts: Facts, metric: str, segment: str) -> Mapping[str, float]:
    """Of the list that goes out; empty where that was not measured."""
    evaluated = facts.evaluated
    return evaluated.test.get(segment, {}).get(evaluated.trained, {}).get(metric, {}) if evaluated else {}


def _ratio(now: float, before: float) -> float:
    """Where there was nothing before, nothing was lost."""
    return now / before if before > 0 else 1.0
