"""An encoder of an installed package: named itself as `encoder`, or as `entry_point` of the kind `own`."""

from __future__ import annotations

from pipeline.config.encoders import BASE, GROUP
from pipeline.config.kinds import Registry
from pipeline.config.shared import BOUNDS, EncoderSettings, Own
from pipeline.encoders.base import Encoder
from pipeline.errors import ConfigError, MedleyError
from pipeline.workspace import digest

VERSION = 1
NEEDED = ("identity", "model", "batch_cost", "window")
INSTALLED = Registry(GROUP, "", BASE, "entry_point")


def find(settings: EncoderSettings) -> Encoder:
    """The encoder behind the entry point that the settings name, made from them; `options` of `Own` are its own.

    Its identity covers the name and version of its distribution, the settings, and what it says itself. Raises
    ConfigError if there is no such entry point, it cannot be imported or made, or is no encoder.
    """
    point = settings.entry_point if isinstance(settings, Own) else settings.encoder
    kind = INSTALLED.find(point)
    package = [part for part in INSTALLED.identity(point) if part]
    described = f"{point} of {' '.join(package[:2])}: {kind.__module__}:{kind.__name__}"
    try:
        encoder: Encoder = kind(settings)
    except MedleyError:
        raise
    except Exception as error:  # a stranger's code, which raises what it likes
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ConfigError(f"{described} cannot be made ({type(error).__name__}: {reason})") from None
    if not hasattr(encoder, "prepared"):
        raise ConfigError(f"{described} does not call super().__init__()")
    missing = [name for name in NEEDED if not hasattr(encoder, name)]
    if missing:
        raise ConfigError(f"{described} does not set {', '.join(missing)}")
    if hasattr(settings, "template") and type(encoder).render is Encoder.render:
        raise ConfigError(f"{described} encodes no text; it needs TemplateEncoder as its base")
    encoder.identity = digest("own", VERSION, package, settings.model_dump(exclude=set(BOUNDS)), encoder.identity)
    return encoder
