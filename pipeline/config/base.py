"""What every part of the configuration is made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Modality = Literal["text", "image", "audio"]
MODALITIES: tuple[Modality, ...] = ("text", "image", "audio")
# A JSON schema, as pydantic makes it.
Schema = dict[str, Any]
Share = Annotated[float, Field(ge=0, le=1)]
# Values of a setting that validation chooses among.
Grid = Annotated[tuple[float, ...], Field(min_length=1)]

# Marks of a field, as its `json_schema_extra`: what an operator changes on a night, which Airflow's form shows; what
# hardly anyone needs, which the reference lists apart.
OPERATOR: dict[str, JsonValue] = {"operator": True}
ADVANCED: dict[str, JsonValue] = {"advanced": True}


class Section(BaseModel):
    """A frozen part of the configuration that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
