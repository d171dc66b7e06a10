"""The built-in demo city: a small synthetic MSLS with perfect labels and planted truth.

`make` writes it, `is_made` finds it, `sheet` and `conditions_sheet` show it; `vprdist.spec.demo.DemoSpec` says what it
is. What draws is loaded when it is asked for: most sweeps find their city made.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vprdist.demo.mark import is_made

if TYPE_CHECKING:
    from vprdist.demo.place_sheet import sheet as sheet
    from vprdist.demo.weather_sheet import conditions_sheet as conditions_sheet
    from vprdist.demo.write import make as make

__all__ = ["conditions_sheet", "is_made", "make", "sheet"]
_DRAWN = {"conditions_sheet": "weather_sheet", "make": "write", "sheet": "place_sheet"}
"""What is loaded when it is asked for, and the module that has it."""


def __getattr__(name: str) -> Any:
    if name not in _DRAWN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_DRAWN[name]}"), name)
