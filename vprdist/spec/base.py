"""The base of every spec: strict, frozen, keyword-only, and what of it goes into the trial id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Spec(BaseModel):
    """Unknown keys and wrong types are refused; nothing changes after it is built."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
    )

    def hashed(self) -> dict[str, Any]:
        """The JSON value that identifies this spec.

        Left out are fields marked `not_hashed` (paths, runtime only), and fields marked `hashed_unless` while
        they hold that value: a field added later keeps the ids of the trials that were run before it.
        """
        out: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            extra = marks_of(field)
            value = getattr(self, name)
            if extra.get("hashed") is False or ("hashed_unless" in extra and value == extra["hashed_unless"]):
                continue
            if isinstance(value, Spec):
                out[field.alias or name] = value.hashed()
            else:
                out[field.alias or name] = self.model_dump(mode="json", include={name})[name]
        return out


def not_hashed(default: Any, **more: Any) -> Any:
    """A field that says where or how to run, never what: it is left out of the trial id."""
    extra = {**more.pop("json_schema_extra", {}), "hashed": False}
    return Field(default=default, json_schema_extra=extra, **more)


def hashed_unless(default: Any, **more: Any) -> Any:
    """A field added after version 0.1: hashed only when it is not at the value that keeps the old behaviour."""
    extra = {**more.pop("json_schema_extra", {}), "hashed_unless": default}
    return Field(default=default, json_schema_extra=extra, **more)


def marked(
    *, unit: str = "", words: Iterable[str] = (), other: str = "", entries: Iterable[str] = (), entry: str = "",
    key: str = "", names: Iterable[str] = (), absent: str = "", own: bool = False, in_files: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """What `vprdist keys` and the schema of editors say of a field beyond its type; given as `json_schema_extra`.

    Args:
        unit: what its number counts, where the end of its name does not say it (`_m`, `_pairs`).
        words: the words that a text may be.
        other: what else a text may be; without it the words are all.
        entries: the words that a text in a list may be.
        entry: what one such entry, or one of the words, is called.
        key: what a key below it is called, where people choose these keys themselves.
        names: the words that such a key may be.
        absent: what holds where the key is absent, when the model does not say it.
        own: a class of a user's own may stand in this section, its parameters beside its name.
        in_files: False for what is computed or drawn: no file names it.
    """
    given = {
        "unit": unit, "words": [*words], "other": other, "entries": [*entries], "entry": entry, "key": key,
        "names": [*names], "absent": absent, "own": own,
    }  # fmt: skip
    return {**{name: value for name, value in given.items() if value}, **({} if in_files else {"in_files": False})}


def marks_of(field: FieldInfo) -> dict[str, Any]:
    """What `not_hashed`, `hashed_unless` and `marked` say of a field."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def file_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields that a file may set, by their names in a file."""
    fields = model.model_fields.items()
    return {field.alias or name: field for name, field in fields if marks_of(field).get("in_files", True)}


Names = tuple[str, ...]
"""Words in an order: classes, units. Cities are `names.CityNames`."""


ImageSize = tuple[Annotated[int, Field(ge=32, le=4096)], Annotated[int, Field(ge=32, le=4096)]]
