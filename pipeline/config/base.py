"""What every part of the configuration is made of."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

# Text, image, audio, or any name that a section of `extract` has.
Modality = str
MODALITIES: tuple[Modality, ...] = ("text", "image", "audio")
# Those whose column of the items names files.
MEDIA = frozenset({"image", "audio"})
# Between the names of an item's several media: no path has this character.
SEPARATOR = "\x1f"
# A JSON schema, as pydantic makes it.
Schema = dict[str, Any]
Share = Annotated[float, Field(ge=0, le=1)]
# Values of a setting that validation chooses among.
Grid = Annotated[tuple[float, ...], Field(min_length=1)]

# Marks of a field, as its `json_schema_extra`, see `operator` and `advanced`.
OPERATOR: dict[str, JsonValue] = {"operator": True}
ADVANCED: dict[str, JsonValue] = {"advanced": True}


def operator(default: Any, description: str | None = None, **rules: Any) -> Any:
    """A pydantic Field that an operator changes on a night, and Airflow's form shows."""
    return Field(default, description=description, json_schema_extra=OPERATOR, **rules)


def advanced(default: Any, description: str | None = None, **rules: Any) -> Any:
    """A pydantic Field that hardly anyone needs, and the reference lists apart."""
    return Field(default, description=description, json_schema_extra=ADVANCED, **rules)


# Words that YAML 1.1 reads as something else, where they stand bare.
BARE_WORDS: dict[bool | None, tuple[str, ...]] = {False: ("off", "no"), True: ("on", "yes"), None: ("none", "null")}


class Section(BaseModel):
    """A frozen part of the configuration that refuses keys it does not know.

    A bare `off` or `none` is the word where a field has that among its values.

    moved: keys of earlier versions, and what to write instead, with SETTINGS or VALUE for what was given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    moved: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _knows_its_keys(cls, value: Any) -> Any:
        for key in value if isinstance(value, dict) else ():
            if key in cls.moved:
                raise refusal("moved", str(key), value[key], f"write {_filled(cls.moved[key], value[key])} now")
            if key not in cls.model_fields and (said := cls.unknown(str(key), value[key])):
                raise refusal("unknown", str(key), value[key], said)
        return {key: cls._word(key, given) for key, given in value.items()} if isinstance(value, dict) else value

    @classmethod
    def _word(cls, key: str, given: object) -> object:
        """A value, or the word of the field that YAML took it from."""
        if key not in cls.model_fields or not (given is None or isinstance(given, bool)):
            return given
        kind = cls.model_fields[key].annotation
        words = get_args(kind) if get_origin(kind) is Literal else ()
        return next((word for word in BARE_WORDS[given] if word in words), given)

    @classmethod
    def unknown(cls, key: str, value: object) -> str:
        """What to write instead of a key that is none of the section's fields; empty if it may stand."""
        return f"allowed here: {', '.join(cls.model_fields)}"


def refusal(kind: str, key: str, value: object, said: str) -> ValidationError:
    """An error of one key of a section. kind: of error, as pydantic's `type`. said: what is wrong and what to do."""
    error = PydanticCustomError(cast(Any, kind), "{said}", {"said": said})
    return ValidationError.from_exception_data("", [InitErrorDetails(type=error, loc=(key,), input=value)])


def _filled(place: str, value: object) -> str:
    """A place with the settings, or the value, that are to be moved there."""
    settings = ", ".join(f"{name}: {setting}" for name, setting in value.items()) if isinstance(value, dict) else ""
    return place.replace("SETTINGS", settings or "...").replace("VALUE", str(value))
