"""The base of every spec: strict, frozen, keyword-only, and what of it goes into the trial id."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


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
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
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
    return Field(default=default, json_schema_extra={"hashed": False}, **more)


def hashed_unless(default: Any, **more: Any) -> Any:
    """A field added after version 0.1: hashed only when it is not at the value that keeps the old behaviour."""
    return Field(default=default, json_schema_extra={"hashed_unless": default}, **more)
