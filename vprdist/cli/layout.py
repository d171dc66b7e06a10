"""`--layout` and `--leave-out`: a data set as a sweep file's `trial.data` names it."""

from __future__ import annotations

import argparse
from pathlib import Path

from vprdist.console import Console
from vprdist.spec.base import Names
from vprdist.spec.choices import chosen_layout
from vprdist.spec.doors import MSLS, LayoutName
from vprdist.spec.read import parse_value

FORMS = "msls, utm, … (vprdist keys data.layout), path/file.py:Name, or '{name: path/file.py:Name, parameter: value}'"


def add_layout(command: argparse.ArgumentParser, default: str = "msls") -> None:
    """Add the option; its value is None where nobody gave it."""
    command.add_argument(
        "--layout", metavar="LAYOUT", help=f"how the data set lies there: {FORMS} (default: {default})"
    )


def add_leave_out(command: argparse.ArgumentParser, default: str = "none") -> None:
    """Add the option; its value is None where nobody gave it."""
    command.add_argument(
        "--leave-out", nargs="+", metavar="PICTURE",
        help=f"pictures that take no part: key, city/key, city/side/key, or a file of them (default: {default})",
    )  # fmt: skip


def left_out_given(words: list[str] | None, default: str | Names = ()) -> str | Names:
    """What the command line leaves out: names, or the one file that holds them."""
    if words is None:
        return default
    return words[0] if len(words) == 1 and Path(words[0]).is_file() else tuple(words)


def layout_given(words: str | None, default: LayoutName = MSLS) -> LayoutName:
    """The choice of the command line; a path counts from the working folder.

    Raises:
        SweepFileError: no such layout or file, or parameters that it does not have.
    """
    if words is None:
        return default
    return chosen_layout(parse_value(words, "--layout"), "--layout")


def layout_or_recognised(words: str | None, root: Path, console: Console) -> LayoutName:
    """The choice of the command line, or what the folder is recognised as, which is said.

    Raises:
        SweepFileError: as `layout_given`.
        DataError: nothing is recognised, or two layouts are.
    """
    if words is not None:
        return layout_given(words)
    from vprdist.data.layouts import recognised

    found, why = recognised(root)
    console.print(f"recognised the layout {found.name}: {why}", soft_wrap=True)
    return found
