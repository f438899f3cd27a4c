"""auto: the best that validation finds among several models and their blends, in the time that it is given.

- tried: what the last night chose, then from cheap to dear, as long as the estimated seconds of all fits fit into
  `budget_minutes`; the cheapest in any case. An estimate is an earlier night's seconds, else the kind's `cost`: so that
  a night's clock decides nothing, and the same night makes the same bytes;
- judged: see `pipeline.recommend.portfolio`, by known items and by new ones;
- chosen: the best, or a blend of those that gain beyond chance. These are fitted again with the items that were hidden,
  and are a `blend`, of one model too;
- for `evaluate.settled_nights` what was chosen stays chosen, and only that is fitted.

A model that cannot be fitted is left out with its reason. Without a validation part nothing can be chosen, and the
cheapest is fitted alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, cast

from pydantic import Field

from pipeline.artefacts.tries import CHOSEN, Try
from pipeline.config.base import Share, operator
from pipeline.config.train import Members, TrainSettings
from pipeline.errors import MedleyError, StepFailed
from pipeline.heartbeat import part
from pipeline.recommend import kind_of
from pipeline.recommend.base import Fit, FitInput, Room
from pipeline.recommend.models.blend import BlendModel, BlendSettings, side_of
from pipeline.recommend.portfolio import KNOWN, NEW, Judge, Trial, trial_of

log = logging.getLogger("medley")
MEMBERS = ("svd", "als", "elsa", "two_tower", "graph", "sequence")
# What is chosen is fitted again on the training part, if items were hidden, and on everything: without a search.
FITS = 2
MILLION = 1e6


class AutoSettings(BlendSettings):
    """What is tried, and how long."""

    moved: ClassVar[dict[str, str]] = TrainSettings.moved
    model: Literal["auto"] = "auto"  # type: ignore[assignment]
    budget_minutes: float = operator(
        30, "estimated time of all fits; decides which members are tried, from cheap to dear", gt=0
    )
    members: Members = Field(
        default_factory=cast(Any, lambda: tuple({"model": name} for name in MEMBERS)),
        description="the models that the best, or a blend, is chosen from",
    )
    new_item_share: Share = Field(
        0.1, description="of the items, hidden from the fits that are compared; lists of new items count as much"
    )

    @classmethod
    def unknown(cls, key: str, value: object) -> str:
        """See Section: what it is given without a name is most likely another model's."""
        of_one = f"a setting of one model: name it, as in `train: {{model: two_tower, {key}: {value}}}`"
        return f"{of_one}, or in train.members; {super().unknown(key, value)}"


class Auto(BlendModel):
    """See above."""

    Settings = AutoSettings
    version = 3
    title = "auto"
    purpose = "the best of the others, or a blend of them, as validation has it; the default"
    settles = True
    settings: AutoSettings

    @classmethod
    def planned(cls, settings: TrainSettings, room: Room, settled: Mapping[str, float]) -> TrainSettings:
        """See Model: the members that an earlier night chose, or else those that the budget has room for."""
        assert isinstance(settings, AutoSettings)
        members = {member.model: member for member in settings.members}
        if settled:
            chosen = [members[name] for name, weight in settled.items() if weight > 0 and name in members]
            return settings.model_copy(update={"members": tuple(chosen)})
        left, tried = settings.budget_minutes * 60, set[str]()
        for name in sorted(members, key=lambda name: room.seconds.get(name, estimate(name, room))):
            left -= FITS * room.seconds.get(name, estimate(name, room))
            if left >= 0 or not tried:
                tried.add(name)
        # In an order that no clock decides: the same models are the same night.
        ordered = sorted(tried, key=lambda name: (estimate(name, room), name))
        return settings.model_copy(update={"members": tuple(members[name] for name in ordered)})

    @classmethod
    def reads_earlier(cls, settings: TrainSettings, settled: Collection[str]) -> bool:
        """See Model; not while it chooses: an earlier fit has seen the items that are hidden then."""
        return settings.model in settled and super().reads_earlier(settings, settled)

    def learn(self, data: FitInput) -> Fit:
        """Tries every member, chooses, and fits what is chosen on the whole training part."""
        started = time.perf_counter()
        if self.settled or data.validation is None:
            weights = dict(self.settled) or {next(iter(self.members)): 1.0}
            fits = {name: self.members[name].learn(data) for name, weight in weights.items() if weight > 0}
            self.weights = {name: weights[name] for name in fits}
            self._sides = {name: side_of(self.members[name], data.content, data.train) for name in fits}
            return Fit(seconds=time.perf_counter() - started, settings=self.weights, members=fits)
        trial = trial_of(data.content, data.train, data.validation, self.settings.new_item_share, self.seed)
        fits, tries = self._tried(data, trial)
        weights = self.weights
        if trial.hides:
            self.refit(data.content, data.train, Fit(settings=weights, members=fits))
        return Fit(seconds=time.perf_counter() - started, settings=weights, members=fits, tries=tries)

    def _tried(self, data: FitInput, trial: Trial) -> tuple[dict[str, Fit], dict[str, Try]]:
        """Every member's fit on the trial, and how it did there; sets the weights, and the sides where these stay."""
        fits: dict[str, Fit] = {}
        tries: dict[str, Try] = {}
        on_trial = FitInput(data.content, trial.train, trial.validation, data.epochs, data.on_epoch)
        for number, (name, model) in enumerate(self.members.items(), 1):
            started, scratch = time.perf_counter(), model.scratch
            # What is chosen is fitted again: a night that was killed then must find both.
            model.scratch = scratch and scratch.named("trial")
            try:
                with part(f"auto tries {name}, {number} of {len(self.members)}"):
                    fits[name] = model.learn(on_trial)
            except (MedleyError, MemoryError) as error:
                reason = str(error) or "there is not enough memory for it"
                tries[name] = Try(note=reason)
                log.warning("auto goes on without %s: %s", name, reason)
                continue
            finally:
                model.scratch = scratch
            self._sides[name] = side_of(model, data.content, trial.train)
            tries[name] = Try(seconds=round(time.perf_counter() - started, 2))
            log.info("auto: %s is fitted, %.1f s", name, tries[name].seconds)
        if not fits:
            raise StepFailed(f"none of its models can be fitted; the first: {next(iter(tries.values())).note}")
        judge = Judge(trial, [side.scorer(trial.train) for side in self._sides.values()], self.metric)
        best = judge.best()
        self.weights = self._agreed(dict(zip(fits, best, strict=True)))
        for name, alone in zip(fits, judge.alone(), strict=True):
            tries[name] = _judged(judge.means(alone), self.weights[name], tries[name].seconds)
            log.info("auto: %s %s", name, _said(tries[name], self.metric))
        tries[CHOSEN] = _judged(judge.means(best), 1.0, 0.0)
        log.info("auto: chosen %s %s", _weighed(self.weights), _said(tries[CHOSEN], self.metric))
        self._sides = {name: self._sides[name] for name, weight in self.weights.items() if weight > 0}
        return fits, tries


def estimate(name: str, room: Room) -> float:
    """Seconds of a model's fit, by the cost of its kind."""
    an_interaction, an_item = kind_of(name).cost
    return (an_interaction * room.interactions + an_item * room.items) / MILLION


def _judged(means: Mapping[str, float], weight: float, seconds: float) -> Try:
    return Try(means[KNOWN], means.get(NEW), weight, seconds)


def _said(tried: Try, metric: str) -> str:
    new = "" if tried.new is None else f", of new items {tried.new:.4f}"
    return f"{metric} {tried.known:.4f}{new}" + (f", {tried.seconds:.1f} s" if tried.seconds else "")


def _weighed(weights: Mapping[str, float]) -> str:
    return " + ".join(f"{weight:.3g} {name}" for name, weight in weights.items() if weight > 0)
