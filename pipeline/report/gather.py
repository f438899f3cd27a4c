"""Everything the report page shows, as frozen data, read from the files of a finished run.

Numbers are None, never NaN, where there is nothing to measure; pictures are `data:` URIs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.artefacts.evaluated import Evaluated
from pipeline.artefacts.fused import Fused
from pipeline.artefacts.log import PARTS
from pipeline.artefacts.model import Curves, FitDetails
from pipeline.artefacts.runs import StepReceipt, receipts_of
from pipeline.artefacts.staged import CheckOutcome, SourceSummary, Staged
from pipeline.artefacts.tries import CHOSEN, Try
from pipeline.media.stored import FOLDER
from pipeline.report.files import RunFiles
from pipeline.report.freshness import NewestChoice, newest_choice_of
from pipeline.report.index_plan import IndexPlan, plans_of
from pipeline.report.intake import ModalityCount, buckets_of, example_ids, modality_of, steps_of
from pipeline.report.item_map import ItemMap, map_of
from pipeline.report.items import items_of, popularity
from pipeline.report.last_night import LastNight, last_night_of
from pipeline.report.pictures import EXAMPLE, Studio, aspect
from pipeline.report.score_parts import ScoreParts
from pipeline.report.scores import (
    Ablation,
    Headline,
    MetricView,
    Paired,
    Reranked,
    ablation_of,
    headline_of,
    metrics_of,
    paired_of,
    reranked_of,
)
from pipeline.report.settings import Setting, not_default
from pipeline.report.tuning import Tuning, tuning_of
from pipeline.report.user_examples import UserShelf, drawn, shelves_of
from pipeline.report.weights import Blend, blend_of

CONTENTS = {
    "last-night": "Since last night",
    "intake": "What came in",
    "modalities": "Missing",
    "map": "Map",
    "blend": "Vectors",
    "training": "Learning",
    "tuning": "Settings tried",
    "metrics": "Quality",
    "people": "People",
    "index": "Index",
    "settings": "Settings",
    "time": "Time",
}


@dataclass(frozen=True)
class Report:
    """The whole page.

    warnings: of modalities that hardly any item has. without_vector: users that no vector could be made for, by reason.
    steps: the night's, a step's buckets as one. tries: what a choice among models was made from, empty where there was
    none. newest_choice: None where there is no choice. last_night: what differs from an earlier run, if there is
    one. settings: those that are not the default. plans: of each FAISS file.
    """

    run: RunFiles
    source: SourceSummary
    warnings: Sequence[str]
    without_vector: Mapping[str, int]
    headline: Headline | None
    modalities: tuple[ModalityCount, ...]
    metrics: tuple[MetricView, ...]
    notes: Mapping[str, str]
    paired: Paired | None
    ablation: tuple[Ablation, ...]
    reranked: Reranked | None
    curves: Curves
    tries: Mapping[str, Try]
    map: ItemMap
    blend: Blend
    shelves: tuple[UserShelf, ...]
    card_ratio: float
    steps: tuple[StepReceipt, ...]
    tuning: Tuning | None
    newest_choice: NewestChoice | None
    last_night: LastNight | None
    settings: tuple[Setting, ...]
    plans: tuple[IndexPlan, ...]

    @property
    def is_reranked(self) -> bool:
        """Whether the lists have the re-ranker's order and scores."""
        return any(parts.is_probability for parts in self._scores)

    @property
    def base_is(self) -> str:
        """What the base of a list's scores is."""
        return "an average user and item" if self.is_reranked else "without content"

    @property
    def score_names(self) -> tuple[str, ...]:
        """What scores of the lists are made of, beside their base."""
        return tuple(dict.fromkeys(name for parts in self._scores for name, _ in parts.parts))

    @property
    def _scores(self) -> list[ScoreParts]:
        return [card.score for shelf in self.shelves for card in shelf.recommended if card.score]

    @property
    def contents(self) -> tuple[tuple[str, str], ...]:
        """The page's sections, in their order: each one's id and its name in the bar of contents."""
        absent = {"last-night": not self.last_night, "tuning": not self.tuning, "settings": not self.settings}
        absent["index"] = not self.plans
        return tuple((section, name) for section, name in CONTENTS.items() if not absent.get(section))

    @property
    def interactions(self) -> int:
        """How many there are after staging."""
        return sum(self.source.parts.values())

    @property
    def split_strip(self) -> tuple[tuple[str, int, str], ...]:
        """Name, interactions and the style's name of each part of the log."""
        return tuple((name, self.source.parts.get(name, 0), f"part-{name}") for name in PARTS)

    @property
    def checks(self) -> list[CheckOutcome]:
        """Every check, those with offending rows first."""
        return sorted(self.source.checks, key=lambda check: check.rows == 0)

    @property
    def shown_metric(self) -> str:
        """The metric that is chosen when the page opens."""
        names = [view.metric for view in self.metrics]
        wanted = self.headline.metric if self.headline else "ndcg@10"
        return wanted if wanted in names else next(iter(names), "")

    @property
    def total_seconds(self) -> float:
        """The sum over steps, which is the work done, not the wall time where steps ran side by side."""
        return sum(step.seconds for step in self.steps)

    @property
    def longest_seconds(self) -> float:
        """The longest step's time, > 0."""
        return max((step.seconds for step in self.steps), default=0) or 1.0


def gather(run: RunFiles) -> Report:
    """Reads receipts, split, metrics, curves, fused and published vectors, and staged tables of one run.

    Raises WorkspaceError or ShardCorrupt if one of them is missing or unreadable.
    """
    evaluated, receipts, modalities = Evaluated.read(run.folder), receipts_of(run.folder), Fused(run.fused).modalities()
    judged = run.rules.metric, run.rules.segment
    fusion, trained = (next(receipt for receipt in receipts if receipt.step == step) for step in ("fuse", "train"))
    buckets = {name: of_name for name in modalities if (of_name := buckets_of(receipts, name))}
    studio, chosen = Studio(run.media_root, run.workspace / FOLDER / "image"), popularity(run)
    shelves, tiles = shelves_of(run, drawn(run), studio, chosen)
    examples = items_of(run, example_ids(receipts, modalities))
    pictures = studio.tiles({item_id: item.titled for item_id, item in examples.items()}, EXAMPLE)
    return Report(
        run=run,
        source=Staged(run.staged).summary,
        warnings=fusion.details.get("warnings", ()),
        without_vector=fusion.details.get("users_without_vector", {}),
        headline=headline_of(evaluated, judged, run.config.baseline),
        modalities=tuple(modality_of(name, of_name, examples, pictures) for name, of_name in buckets.items()),
        metrics=metrics_of(evaluated, judged),
        notes=evaluated.notes,
        paired=paired_of(evaluated),
        ablation=ablation_of(evaluated, run.rules.metric),
        reranked=reranked_of(evaluated),
        curves=Curves.read(run.model),
        tries=_by_score(trained.noted(FitDetails).tries),
        map=map_of(run, studio, chosen),
        blend=blend_of(run, fusion.details),
        shelves=shelves,
        card_ratio=aspect(tiles),
        steps=steps_of(receipts, run.steps, modalities),
        tuning=tuning_of(run.workspace),
        newest_choice=newest_choice_of(run),
        last_night=last_night_of(run, receipts, evaluated),
        settings=not_default(run.config),
        plans=plans_of(run),
    )


def _by_score(tries: Mapping[str, Try]) -> dict[str, Try]:
    """From the best to the worst on known items, and at the end what was chosen."""
    return dict(sorted(tries.items(), key=lambda entry: (entry[0] == CHOSEN, -(entry[1].known or 0), entry[0])))
