"""The built-in demo city: a small synthetic MSLS with perfect labels and planted truth.

`make` writes it, `is_made` finds it, `sheet` and `conditions_sheet` show it; `vprdist.spec.demo.DemoSpec` says what it
is.
"""

from __future__ import annotations

from vprdist.demo.conditions_sheet import conditions_sheet
from vprdist.demo.sheet import sheet
from vprdist.demo.write import is_made, make

__all__ = ["conditions_sheet", "is_made", "make", "sheet"]
