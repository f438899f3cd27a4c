"""What a search for settings may choose from: a range or a list for each setting of `train`, by its dotted name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from pipeline.config import Config, leaves
from pipeline.config.load import explain
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from optuna import Trial

Value = str | int | float | bool
# Settings by dotted name, as one trial has them.
Settings = dict[str, Value]
MODEL = "train.model"

_PAIRWISE = {
    "train.pairwise.learning_rate": {"low": 1e-3, "high": 5e-2, "log": True},
    "train.pairwise.l2": {"low": 1e-4, "high": 0.3, "log": True},
    "train.pairwise.width": [32, 64, 128],
    "train.pairwise.popularity_power": {"low": 0, "high": 1},
}
# What is tried where `tune.space` is empty.
DEFAULTS: dict[str, dict[str, Any]] = {
    "two_tower": {
        "train.learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "train.weight_decay": {"low": 1e-3, "high": 0.1, "log": True},
        "train.dropout": {"low": 0, "high": 0.6},
        "train.target_fade": {"low": 0.4, "high": 1},
        "train.content_loss": {"low": 0.03, "high": 1, "log": True},
    },
    "bpr": {
        "train.bpr.learning_rate": {"low": 1e-2, "high": 0.2, "log": True},
        "train.bpr.l2": {"low": 1e-4, "high": 5e-2, "log": True},
        "train.bpr.width": [32, 64, 128],
        "train.bpr.popularity_power": {"low": 0, "high": 1},
    },
    "vbpr": _PAIRWISE,
    "lightgcn": {**_PAIRWISE, "train.pairwise.layers": {"low": 1, "high": 3}},
    "graph": {
        "train.graph.learning_rate": {"low": 2e-3, "high": 5e-2, "log": True},
        "train.graph.temperature": {"low": 0.05, "high": 0.5, "log": True},
        "train.graph.neighbour_weight": {"low": 0, "high": 4},
        "train.graph.popularity_power": {"low": 0, "high": 0.75},
        "train.graph.hidden_share": {"low": 0.2, "high": 0.8},
    },
    "elsa": {
        "train.elsa.learning_rate": {"low": 1e-2, "high": 0.5, "log": True},
        "train.elsa.width": [64, 128, 256, 512],
        "train.elsa.neighbours": {"low": 2, "high": 20},
        "train.elsa.content_weight": {"low": 0, "high": 1},
    },
    "svd": {
        "train.svd.neighbours": {"low": 2, "high": 20},
        "train.svd.content_weight": {"low": 0, "high": 1},
    },
    "sequence": {
        "train.sequence.learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
        "train.sequence.dropout": {"low": 0.1, "high": 0.7},
        "train.sequence.id_dropout": {"low": 0, "high": 0.5},
        "train.sequence.temperature": {"low": 0.03, "high": 0.2, "log": True},
        "train.sequence.layers": {"low": 1, "high": 3},
    },
}
# Models whose settings stand under another name than their own.
_SECTIONS = dict.fromkeys(("vbpr", "lightgcn"), "pairwise")


@dataclass(frozen=True)
class Dimension:
    """One setting that is tried: `choices`, or the numbers from `low` to `high`, whole ones where the setting is."""

    choices: tuple[Value, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    whole: bool = False

    def holds(self, value: Value) -> bool:
        """Whether a value lies in it."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high

    def suggest(self, trial: Trial, name: str) -> Value:
        """A value of it, the trial's own."""
        if self.choices:
            return cast(Value, trial.suggest_categorical(name, self.choices))
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def described(self) -> object:
        """As the configuration writes it."""
        return list(self.choices) if self.choices else {"low": self.low, "high": self.high, "log": self.log}


Space = dict[str, Dimension]


def space_of(config: Config) -> Space:
    """The settings that are tried: those of `tune.space`, or of the model.

    Raises ConfigError if one is no setting of `train`, or a value of it is not allowed, or nothing is left to try.
    """
    model = config.train.model
    known, wanted = dict(leaves(config)), config.tune.space or _own(model, config)
    if not wanted:
        raise ConfigError(f"tune.space: the {model} model has nothing to learn by; choose another, or name settings")
    space: Space = {}
    for name, given in wanted.items():
        if not name.startswith("train.") or name not in known:
            raise ConfigError(f"tune.space: {name} is no setting of train; the README lists them (train.width, …)")
        space[name] = _dimension(name, given, str(known[name].get("type")))
    for name, dimension in space.items():
        for value in dimension.choices or (dimension.low, dimension.high):
            applied(config, {name: int(value) if dimension.whole else value})
    return space


def applied(config: Config, settings: Settings) -> Config:
    """A configuration with other settings. Raises ConfigError if they are not allowed."""
    document = config.model_dump(mode="json")
    for name, value in settings.items():
        *parents, last = name.split(".")
        section = document
        for parent in parents:
            section = section[parent]
        section[last] = value
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"tune.space: {explain(error)}") from None


def suggest(trial: Trial, space: Space, config: Config) -> Settings:
    """What a trial tries: of several models, only the settings of the one that it has."""
    settings: Settings = {}
    model: str = config.train.model
    if MODEL in space:
        model = settings[MODEL] = str(space[MODEL].suggest(trial, MODEL))
    for name, dimension in space.items():
        if name != MODEL and (MODEL not in space or reads(model, name, config)):
            settings[name] = dimension.suggest(trial, name)
    return settings


def configured(space: Space, config: Config) -> Settings:
    """The configuration's own settings; none if the space does not hold them."""
    known = {name: schema["default"] for name, schema in leaves(config)}
    found: Settings = {name: known[name] for name in space}
    return found if all(space[name].holds(value) for name, value in found.items()) else {}


def reads(model: str, name: str, config: Config) -> bool:
    """Whether a model has a setting: those of its own section, a blend those of all its models too."""
    if model == "blend" and any(reads(member, name, config) for member in config.train.blend.models):
        return True
    if model == "two_tower":
        return name.rpartition(".")[0] == "train"
    return name.startswith(f"train.{_SECTIONS.get(model, model)}.")


def _own(model: str, config: Config) -> dict[str, Any]:
    """A model's own space; of one without, its learning rate, a tenth to ten times of what is configured."""
    if model == "blend":
        return {name: given for member in config.train.blend.models for name, given in _own(member, config).items()}
    if model in DEFAULTS:
        return DEFAULTS[model]
    name = f"train.{_SECTIONS.get(model, model)}.learning_rate"
    rate = {path: schema["default"] for path, schema in leaves(config)}.get(name)
    return {name: {"low": rate / 10, "high": rate * 10, "log": True}} if rate else {}


def _dimension(name: str, given: Any, kind: str) -> Dimension:
    if isinstance(given, list):
        return Dimension(choices=tuple(given))
    if kind not in ("integer", "number"):
        raise ConfigError(f"tune.space: {name} is no number; give a list of choices instead of a range")
    return Dimension(**{"log": False, **given}, whole=kind == "integer")
