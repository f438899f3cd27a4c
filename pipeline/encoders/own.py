"""An encoder of the user's own package, found by its entry point in the group `medley.encoders`."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from pipeline.config.audio import OwnAudio
from pipeline.config.image import OwnImage
from pipeline.config.text import OwnText
from pipeline.encoders.base import Encoder
from pipeline.errors import ConfigError, MedleyError
from pipeline.workspace import digest

VERSION = 1
GROUP = "medley.encoders"
NEEDED = ("identity", "model", "batch_cost", "window")
# What bounds or judges an item, and decides no vector.
BOUNDS = {"max_bytes", "max_pixels", "max_error_rate"}

OwnSettings = OwnText | OwnImage | OwnAudio


def find(settings: OwnSettings) -> Encoder:
    """The encoder behind the entry point, made from the settings, whose `options` are its own.

    Its identity is told apart by the name and version of its distribution and by the settings, beside what it says
    itself. Raises ConfigError if there is no such entry point, it cannot be imported or made, or is no encoder.
    """
    point = _entry_point(settings.entry_point)
    encoder = _made(point, _class(point), settings)
    if not hasattr(encoder, "prepared"):
        raise ConfigError(f"{_named(point)}: {point.value} does not call super().__init__()")
    missing = [name for name in NEEDED if not hasattr(encoder, name)]
    if missing:
        raise ConfigError(f"{_named(point)}: {point.value} does not set {', '.join(missing)}")
    if isinstance(settings, OwnText) and type(encoder).render is Encoder.render:
        raise ConfigError(f"{_named(point)}: {point.value} encodes no text; it needs TemplateEncoder as its base")
    encoder.identity = digest("own", VERSION, _package(point), settings.model_dump(exclude=BOUNDS), encoder.identity)
    return encoder


def _entry_point(name: str) -> EntryPoint:
    there = entry_points(group=GROUP)
    named = {(_package(point), point.value): point for point in there if point.name == name}
    if not named:
        others = ", ".join(sorted({point.name for point in there})) or "there are none"
        raise ConfigError(f"entry_point {name} is not in the group {GROUP} of any installed package ({others})")
    if len(named) > 1:
        packages = " and ".join(sorted(f"{package} {version}" for (package, version), _ in named))
        raise ConfigError(f"entry_point {name} is in the group {GROUP} of {packages}; uninstall all but one")
    return next(iter(named.values()))


def _class(point: EntryPoint) -> type[Encoder]:
    try:
        found = point.load()
    except Exception as error:  # importing runs a stranger's code, which raises what it likes
        raise ConfigError(f"{_named(point)}: {point.value} cannot be imported ({_reason(error)})") from None
    if not isinstance(found, type) or not issubclass(found, Encoder):
        raise ConfigError(f"{_named(point)}: {point.value} is not a class derived from pipeline.encoders.Encoder")
    return found


def _made(point: EntryPoint, kind: type[Encoder], settings: OwnSettings) -> Encoder:
    try:
        return kind(settings)  # type: ignore[call-arg]
    except MedleyError:
        raise
    except Exception as error:  # as above
        raise ConfigError(f"{_named(point)}: {point.value} cannot be made ({_reason(error)})") from None


def _package(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("", "")


def _named(point: EntryPoint) -> str:
    return f"entry_point {point.name} of {' '.join(_package(point)).strip()}"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]}"
