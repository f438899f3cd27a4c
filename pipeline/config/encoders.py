"""The encoders of `extract`: one section a modality, each of the kind that its `encoder` key names.

| modality | kinds |
|---|---|
| text, image, audio | a module of `pipeline/encoders/<modality>/kinds/`, which has a default |
| any | `array` and `own`, of `pipeline/encoders/kinds/` |
| any | an entry point in the group `medley.encoders`, by its name |
"""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, SerializeAsAny

from pipeline.config.base import Modality, Section
from pipeline.config.kinds import Registry
from pipeline.config.shared import EncoderSettings

GROUP = "medley.encoders"
BASE = "pipeline.encoders.base:Encoder"
COMMON = "pipeline.encoders.kinds"
# The modalities that come with encoders, in their order, and which each has where the configuration does not say.
DEFAULTS = {"text": "transformer", "image": "timm", "audio": "mfcc"}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Names that columns, folders or answers have already.
RESERVED = frozenset(
    {"all", "bucket", "cold", "error", "fused", "has_content", "item", "item_id", "modalities", "position", "profiles"}
    | {"published", "shared", "title", "user", "user_id", "vector"}
)


def encoders_of(modality: Modality) -> Registry:
    """The kinds of encoder that a modality may have."""
    if modality not in DEFAULTS:
        return Registry(GROUP, COMMON, BASE, "encoder")
    return Registry(GROUP, f"pipeline.encoders.{modality}.kinds", BASE, "encoder", DEFAULTS[modality], COMMON)


def _read(modality: Modality, value: object) -> object:
    return None if value is None else encoders_of(modality).read(value)


AnyEncoder = SerializeAsAny[EncoderSettings] | None
Text = Annotated[AnyEncoder, BeforeValidator(partial(_read, "text"))]
Image = Annotated[AnyEncoder, BeforeValidator(partial(_read, "image"))]
Audio = Annotated[AnyEncoder, BeforeValidator(partial(_read, "audio"))]
Further = Annotated[AnyEncoder, BeforeValidator(partial(_read, ""))]


class Extract(Section):
    """One encoder per modality; a modality set to null is not used.

    Any further section is a modality of the user's own, by its name.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Further] = Field(init=False)

    text: Text = Field(default_factory=dict)  # type: ignore[assignment]
    image: Image = Field(default_factory=dict)  # type: ignore[assignment]
    audio: Audio = Field(default_factory=dict)  # type: ignore[assignment]

    def modalities(self) -> dict[Modality, EncoderSettings]:
        """The modalities in use and their encoders' settings: text, image, audio, then further ones by name."""
        named = {name: getattr(self, name) for name in DEFAULTS}
        named |= dict(sorted((self.model_extra or {}).items()))
        return {name: settings for name, settings in named.items() if settings is not None}

    @classmethod
    def unknown(cls, key: str, value: object) -> str:
        """See Section: a further section is a modality, where its name may be one."""
        if not isinstance(value, (dict, EncoderSettings)) and value is not None:
            fields = ", ".join(cls.model_fields)
            return f"allowed here: {fields}, and any modality of your own, as `{key}: {{encoder: array, file: ...}}`"
        if NAME.fullmatch(key) and key not in RESERVED and not key.endswith(("_hash", "_problem")):
            return ""
        return f"a modality's name is of letters, digits and underscores, and none of {', '.join(sorted(RESERVED))}"


def kinds_of(modality: Modality) -> dict[str, type[EncoderSettings]]:
    """The settings' model of every kind of encoder that comes with a modality, by the value of its `encoder` key."""
    registry = encoders_of(modality)
    return {name: registry.find(name).Settings for name in registry.names(installed=False)}  # type: ignore[attr-defined]
