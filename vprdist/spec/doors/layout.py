"""Layouts of data sets by name."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationError

from vprdist.errors import RuleError, nearest
from vprdist.spec.base import Spec
from vprdist.spec.doors.frames import FramesParameters
from vprdist.spec.findings import finding_of
from vprdist.spec.named import BuiltIn, Door, Named
from vprdist.spec.names import is_name

MIXED = "mixed"
BETWEEN = "."
"""Stands between a data set of `mixed` and its city: `msls.zurich`."""


class DataSet(Spec):
    """One data set of `mixed`."""

    folder: str | None = Field(default=None, description="below `root`, or absolute; null: called as the data set")
    layout: Any = Field(default="msls", description="how it lies there: a word, or {name: …, parameters}")


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    if not given:
        raise RuleError("", "a data set is missing", None, "Write sets: {msls: {folder: msls}, …}.")
    out = {}
    for name, value in given.items():
        if not is_name(name) or BETWEEN in name or any(mark in name for mark in " ,#@"):
            fault = f"the name of a data set must be a word without {BETWEEN!r}, spaces, commas, `#` and `@`"
            raise RuleError("", fault, name, "Rename it: its cities are called by it, name.city.")
        try:
            found = DataSet.model_validate_json(json.dumps({} if value is None else value), strict=True)
        except ValidationError as error:
            raise _below(name, error, DataSet) from None
        word = found.layout.get("name") if isinstance(found.layout, dict) else found.layout
        if word not in LayoutName.door.built_in or word == MIXED:
            fault = "a data set of `mixed` must have another built-in layout"
            remedy = f"{nearest(str(word), [each for each in LayoutName.door.built_in if each != MIXED])} "
            remedy += "Pictures that lie otherwise: vprdist data convert."
            raise RuleError(f"{name}.layout", fault, word, remedy)
        try:
            chosen = LayoutName.model_validate(found.layout)
        except ValidationError as error:
            raise _below(f"{name}.layout", error, LayoutName) from None
        out[name] = {"folder": found.folder, "layout": chosen.model_dump(mode="json")}
    return out


def _below(key: str, error: ValidationError, model: type[Spec]) -> RuleError:
    """What is wrong in a value at `key` below the data sets."""
    wrong = finding_of(error, model).as_rule()
    return RuleError(".".join(filter(None, (key, wrong.field))), wrong.fault, wrong.value, wrong.remedy)


class _Mixed(Spec):
    sets: Annotated[dict[str, Any], AfterValidator(_checked)] = Field(
        description="by a name of yours, data sets: {folder: …, layout: …}; their cities are called name.city"
    )


class _Utm(Spec):
    query_folders: tuple[str, ...] = Field(default=(), description="those that take part; none named: all")
    sequence: Literal["panorama", "route", "none"] = Field(
        default="panorama",
        description="what makes pictures one sequence: their panorama; or the route along which the numbers at the "
        "end of the field for it count",
    )
    heading: Literal["clockwise", "counterclockwise", "none"] = Field(
        default="clockwise", description="how the headings in names are counted from north; none: they are not used"
    )
    heading_shift: float = Field(default=0.0, ge=-360, le=360, description="degrees, clockwise, that are added to each")
    zones: Literal["one", "apart"] = Field(
        default="one", description="a city lies in one zone of UTM, or in several that are set far apart"
    )


class _Csv(Spec):
    files: tuple[str, ...] = Field(default=(), description="the tables, below `root`; none named: every *.csv there")
    images: str = Field(default="", description="the folder that the paths in a table count from, below `root`")


class LayoutName(Named):
    """How a data set lies in its folder: a folder -> cities with positions, headings, sequences, conditions."""

    door: ClassVar[Door] = Door(
        "layout",
        {
            "msls": BuiltIn("vprdist.data.layouts.msls:Msls"),
            "frames": BuiltIn("vprdist.data.layouts.frames:FramesLayout", FramesParameters),
            "gsv_cities": BuiltIn("vprdist.data.layouts.gsv_cities:GsvCities"),
            MIXED: BuiltIn("vprdist.data.layouts.mixed:Mixed", _Mixed, example="{name: mixed, sets: {msls: {}}}"),
            "utm": BuiltIn("vprdist.data.layouts.utm:Utm", _Utm),
            "csv": BuiltIn("vprdist.data.layouts.places_table:PlacesTable", _Csv),
        },
        provided=("root",),
        default="msls",
    )

    def set_of(self, city: str) -> str:
        """The data set of `mixed` that a city is of; "" where there is one alone."""
        return city.partition(BETWEEN)[0] if self.name == MIXED else ""

    def hashed(self) -> Any:
        """As every choice; where the data sets of `mixed` lie does not count."""
        if self.name != MIXED:
            return super().hashed()
        sets = self.parameters["sets"]
        return {
            "name": MIXED,
            "sets": {name: LayoutName.model_validate(each["layout"]).hashed() for name, each in sets.items()},
        }


MSLS = LayoutName.of("msls")
