"""The built-in demo city: a small synthetic MSLS with perfect labels and planted truth.

`make` writes it, `sheet` shows it; `vprdist.spec.demo.DemoSpec` says what it is.
"""

from __future__ import annotations

from vprdist.demo.sheet import sheet
from vprdist.demo.write import make

__all__ = ["make", "sheet"]
