"""One key of a file, as `vprdist keys` shows it and the schema of editors has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from vprdist.spec.fragments import Fragment, type_of, words_of

Names: TypeAlias = tuple[str, ...]
UNITS = {
    "m": "m", "s": "s", "min": "min", "mb": "MB", "gb": "GB", "degrees": "degrees",
    "pairs": "pairs", "queries": "queries", "steps": "steps",
}  # fmt: skip
"""The unit of a number by the end of its name."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of a file.

    Attributes:
        path: its names from the top; the last is `<…>` where people choose it.
        schema: the JSON schema of its value; of a section, without the keys below.
        default: the JSON value that holds where the key is absent.
        absent: in words what holds then, where no value says it; None where `default` does.
        scales: by built-in scale, the value that stands in the default's place.
        axes: where it may be an axis: of `search.grid`, of `search.space`; empty: nowhere.
        names: what its own name may be, where people choose it and not freely.
        is_section: whether it has keys below it.
    """

    path: Names
    schema: Fragment
    meaning: str
    unit: str = ""
    default: Any = None
    absent: str | None = None
    scales: Mapping[str, Any] = field(default_factory=dict)
    axes: Names = ()
    names: Names = ()
    is_section: bool = False

    @property
    def name(self) -> str:
        """The dotted path."""
        return ".".join(self.path)

    @property
    def type(self) -> str:
        """The type in words."""
        return type_of(self.schema)

    @property
    def words(self) -> Names:
        """The words that the value, or an entry of it, may be."""
        return words_of(self.schema)

    def to_json(self) -> dict[str, Any]:
        """The key for programs; `default` only where the model has one."""
        value = {"default": self.default} if self.absent is None else {"absent": self.absent}
        return {
            "key": self.name, "type": self.type, **value, "scales": dict(self.scales), "unit": self.unit,
            "meaning": self.meaning, "words": list(self.words), "axes": list(self.axes), "schema": self.schema,
        }  # fmt: skip


def unit_of(name: str, schema: Fragment, marks: Mapping[str, Any]) -> str:
    """The unit of a number, or of a list of them."""
    is_number = type_of(schema).lstrip("[").startswith(("number", "whole number"))
    return str(marks.get("unit") or (UNITS.get(name.rsplit("_")[-1], "") if is_number else ""))
