"""What a search for settings may choose from: a range or a list for each setting of `train`, by its dotted name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from pipeline.config import Config, leaves
from pipeline.config.load import explain
from pipeline.config.train import RUNNING, TrainSettings
from pipeline.errors import ConfigError
from pipeline.recommend import kind_of, parts

if TYPE_CHECKING:
    from optuna import Trial

Value = str | int | float | bool
# Settings by dotted name, as one trial has them.
Settings = dict[str, Value]
MODEL = "train.model"


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
    wanted = config.tune.space or _own(config.train)
    if not wanted:
        name = config.train.model
        raise ConfigError(f"tune.space: the {name} model has nothing to learn by; choose another, or name settings")
    names = wanted.get(MODEL)
    models = [applied(config, {MODEL: name}) for name in (names if isinstance(names, list) else [config.train.model])]
    space: Space = {}
    for name, domain in wanted.items():
        having = [model for model in models if name in _settings(model)]
        if not having:
            raise ConfigError(f"tune.space: {name} is no setting of train; the README lists them (train.width, …)")
        space[name] = _dimension(name, domain, str(_settings(having[0])[name].get("type")))
        for value in space[name].choices or (space[name].low, space[name].high):
            for model in having:
                applied(model, {name: int(value) if space[name].whole else value})
    return space


def applied(config: Config, settings: Settings) -> Config:
    """A configuration with other settings, and where the model is another one, with none of the one before.

    Raises ConfigError if they are not allowed.
    """
    document = config.model_dump(mode="json")
    if settings.get(MODEL, config.train.model) != config.train.model:
        document["train"] = {name: document["train"][name] for name in RUNNING}
    for name, value in settings.items():
        *parents, last = name.split(".")
        section = document
        for parent in parents:
            section = section[int(parent) if isinstance(section, list) else parent]
        section[last] = value
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"tune.space: {explain(error)}") from None


def suggest(trial: Trial, space: Space, config: Config) -> Settings:
    """A trial's settings: of several models, only those of the one drawn."""
    settings: Settings = {}
    if MODEL in space:
        settings[MODEL] = space[MODEL].suggest(trial, MODEL)
        config = applied(config, settings)
    known = _settings(config)
    return settings | {name: space[name].suggest(trial, name) for name in space if name != MODEL and name in known}


def configured(space: Space, config: Config) -> Settings:
    """The configuration's own settings; none if the space does not hold them."""
    known = {name: schema["default"] for name, schema in _settings(config).items()}
    own: Settings = {name: known[name] for name in space if name in known}
    return own if all(space[name].holds(value) for name, value in own.items()) else {}


def _settings(config: Config) -> dict[str, Any]:
    """The schemas of the settings of `train` that a configuration has, by dotted name."""
    return dict(leaves(config.train, "train.", members=True))


def _own(settings: TrainSettings) -> dict[str, Any]:
    """A model's own space, or those of all that it blends."""
    if settings.model not in {part.model for part in parts(settings)}:
        prefixes = [f"train.members.{place}." for place in range(len(parts(settings)))]
    else:
        prefixes = ["train."]
    return {
        prefix + name: domain
        for prefix, part in zip(prefixes, parts(settings), strict=True)
        for name, domain in _space_of_one(part).items()
    }


def _space_of_one(settings: TrainSettings) -> dict[str, Any]:
    """What a kind says; of one that says nothing, its learning rate, a tenth to ten times of what is configured."""
    space: dict[str, Any] = dict(kind_of(settings.model).search_space)
    rate = getattr(settings, "learning_rate", None)
    return space or ({"learning_rate": {"low": rate / 10, "high": rate * 10, "log": True}} if rate else {})


def _dimension(name: str, domain: Any, kind: str) -> Dimension:
    if isinstance(domain, list):
        return Dimension(choices=tuple(domain))
    if kind not in ("integer", "number"):
        raise ConfigError(f"tune.space: {name} is no number; give a list of choices instead of a range")
    return Dimension(**{"log": False, **domain}, whole=kind == "integer")
