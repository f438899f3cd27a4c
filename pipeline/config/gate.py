"""What the gate may ask for: of the metrics and segments of `pipeline.evaluation`, those that a night will measure."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from pipeline.config.kinds import modules_of
from pipeline.config.sections import Config
from pipeline.errors import ConfigError

HITS = "pipeline.evaluation.hits"
# Of lists whatever they hit: in every segment, and in `all` alone.
OF_EVERY_SEGMENT, OF_ALL = ("coverage",), ("novelty", "diversity", "popularity_lift")
SEGMENTS = ("all", "warm", "cold_users", "head", "tail")
COLD = ("cold", "cold_among_all")


def metrics(config: Config) -> list[str]:
    """The metrics that are measured in the gate's segment, each at one of `evaluate.cutoffs`."""
    names = (*modules_of(HITS), *OF_EVERY_SEGMENT, *(OF_ALL if config.publish.gate.segment == "all" else ()))
    return [f"{name}@{k}" for name in names for k in config.evaluate.cutoffs]


def segments(config: Config) -> list[str]:
    """The segments in which recommenders may be measured; whether one has a target, a night's data say."""
    names = [*SEGMENTS, *(f"no_{modality}" for modality in config.extract.modalities()), "all_modalities"]
    if config.ingest.cold_item_share or config.ingest.split == "given":
        names += COLD
    return [*names, "new_users"] if config.source.users else names


def refuse_unmeasured(config: Config) -> None:
    """Raises ConfigError if the gate asks for a metric or a segment that no night of this configuration measures."""
    gate = config.publish.gate
    _refuse("publish.gate.segment", gate.segment, segments(config), "there are")
    _refuse("publish.gate.metric", gate.metric, metrics(config), f"at evaluate.cutoffs, in {gate.segment}, there are")


def _refuse(setting: str, name: str, measured: Sequence[str], there_are: str) -> None:
    if name not in measured:
        nearest = get_close_matches(name, measured, 1, 0)[0]
        raise ConfigError(
            f"{setting}: no night will measure {name or 'a name that is empty'}: did you mean {nearest}? "
            f"{there_are} {', '.join(measured)}"
        )
