"""Layouts of data sets by name."""

from __future__ import annotations

from typing import ClassVar

from vprdist.spec.named import BuiltIn, Door, Named


class LayoutName(Named):
    """How a data set lies in its folder: a folder -> cities with positions, headings, sequences, conditions."""

    door: ClassVar[Door] = Door(
        "layout", {"msls": BuiltIn("vprdist.data.layouts.msls:Msls")}, provided=("root",), default="msls"
    )


MSLS = LayoutName.of("msls")
