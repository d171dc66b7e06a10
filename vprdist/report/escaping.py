"""Names as data in files that other programs read: no formula in a spreadsheet, no HTML in Markdown."""

from __future__ import annotations

import re

from vprdist.console import visible

FORMULA = re.compile(r"[=+\-@\t\r]")
"""What makes a spreadsheet calculate a cell (OWASP, CSV injection)."""
INLINE = re.compile(r"[\\`*<|]|&(?=#?\w+;)|\](?=\()|(?<!\w)_|_(?!\w)")
"""What CommonMark reads as more than a letter; a backslash before it makes it one."""
AT_FIRST = re.compile(r"^(\d+(?=[.)](?:\s|$))|(?=[#>+~=-]))")
"""What makes a line a heading, a list or a quotation."""


def csv_text(text: str) -> str:
    """A word of a CSV file. One that a spreadsheet would calculate gets an apostrophe, a number stays one."""
    if not FORMULA.match(text) or text == "-" or _is_number(text):
        return visible(text)
    return "'" + visible(text)


def markdown_cell(text: str) -> str:
    """A cell of a Markdown table that says these words and nothing else."""
    return INLINE.sub(r"\\\g<0>", visible(" ".join(text.split())))


def markdown_line(text: str) -> str:
    """A line of Markdown that says these words and nothing else."""
    return AT_FIRST.sub(r"\1\\", markdown_cell(text))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
