"""Measured: models ranked on every segment, their summaries, their differences, and what each modality adds.

Arrays in, JSON of metrics.json out; nothing here knows where models or tasks come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.evaluation.metrics import PerList, Rankings, Scorer, Scores, Values
from pipeline.evaluation.significance import Summary, compare, summarise
from pipeline.runtime import give_back
from pipeline.storage.documents import Json

# Segment to scores, of one model.
BySegment = Mapping[str, Scores]
ABLATED_METRICS = ("ndcg", "recall")


@dataclass(frozen=True)
class Measure:
    """How models are measured: the lists' cutoffs, the intervals' samples and seed, and the gate's metric."""

    cutoffs: tuple[int, ...]
    samples: int
    seed: int
    metric: str
    segment: str

    def ranked(
        self, rankings: Rankings, models: Mapping[str, Scorer], per_list: Mapping[str, PerList] | None = None
    ) -> dict[str, dict[str, Scores]]:
        """Each model's scores on every segment. per_list: further metrics of the lists, by segment."""
        ranked = {}
        for name in models:
            # Each is asked for in its turn, and not held on to: all of them might not fit into memory.
            ranked[name] = rankings.of(models[name], self.cutoffs, per_list)
            give_back()
        return ranked

    def summary(self, scores: Scores) -> Summary:
        """Each metric's mean and interval; empty without users."""
        return summarise(scores, self.samples, self.seed)

    def segments(self, ranked: Mapping[str, BySegment]) -> dict[str, dict[str, Summary]]:
        """Segment to model to its summary; segments without users are left out."""
        names = list(dict.fromkeys(segment for scores in ranked.values() for segment in scores))
        tables = {name: {model: self.summary(scores[name]) for model, scores in ranked.items()} for name in names}
        return {name: models for name, models in tables.items() if any(models.values())}

    def per_user(self, scores: BySegment) -> Values | None:
        """The gate's metric of every user; None if it is no metric of single users."""
        values = scores[self.segment].values.get(self.metric) if self.segment in scores else None
        return values if values is not None and len(values) else None

    def paired(self, ranked: Mapping[str, BySegment], strongest: str, validation: Mapping[str, float]) -> Json:
        """Every model against the strongest baseline, user by user; empty where that cannot be measured."""
        values = {name: own for name, scores in ranked.items() if (own := self.per_user(scores)) is not None}
        baseline = values.pop(strongest, None)
        if baseline is None:
            return {}
        return {
            "metric": self.metric,
            "segment": self.segment,
            "baseline": strongest,
            "validation": dict(validation),
            "models": compare(values, baseline, self.samples, self.seed),
        }

    def ablated(
        self, rankings: Rankings, without: Mapping[str, Scorer], whole: BySegment
    ) -> dict[str, dict[str, Json]]:
        """Segment to modality to metric: its summary without the modality, and `change`, from whole to without, paired.

        whole: the scores of the model that the modalities were left out of, nothing left out.
        """
        segments: dict[str, dict[str, Json]] = {}
        for modality, scores in self.ranked(rankings, without).items():
            for segment, own in scores.items():
                if len(own.users):
                    segments.setdefault(segment, {})[modality] = self._changed(own, whole[segment])
        return segments

    def _changed(self, scores: Scores, whole: Scores) -> Json:
        names = [name for name in scores.values if name.partition("@")[0] in ABLATED_METRICS]
        summary: Json = dict(self.summary(Scores(scores.users, {name: scores.values[name] for name in names})))
        for name in names:
            summary[name]["change"] = self._change(scores, whole, name)
        return summary

    def _change(self, scores: Scores, whole: Scores, metric: str) -> dict[str, float]:
        return compare({metric: scores.values[metric]}, whole.values[metric], self.samples, self.seed)[metric]

    def gain(self, before: Scores, after: Scores) -> Json:
        """The gate's metric, else the first NDCG, of the first stage and re-ordered, and the paired gain."""
        metric = self.metric if self.metric in after.values else f"ndcg@{self.cutoffs[0]}"
        if not len(after.users):
            return {}
        stages = {"first_stage": before, "reordered": after}
        summaries = {
            name: self.summary(Scores(scores.users, {metric: scores.values[metric]})) for name, scores in stages.items()
        }
        return {**summaries, "gain": {metric: self._change(after, before, metric)}}
