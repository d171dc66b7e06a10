"""The documents of a wheel: their links lead where things lie there, which is not where a checkout has them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

INSIDE = "vprdist/_shipped"
"""Holds what lies beside the package in a checkout (vprdist/shipped.py)."""
BESIDE = ("SECURITY.md", "CONTRIBUTING.md")
"""Documents of the checkout's own folder that others lead to."""
LINK = re.compile(r"(?<=\]\()(?!https?:)[^)\s#]+")


def place(path: str) -> str:
    """Where a file of the checkout lies in a wheel."""
    return path if path.startswith("vprdist/") else f"{INSIDE}/{path}"


def documents(root: Path) -> list[str]:
    """Those that a wheel holds, as paths below the checkout."""
    found = [path for room in ("vprdist", "sweeps", "slurm") for path in (root / room).rglob("*.md")]
    return [*BESIDE, *sorted(path.relative_to(root).as_posix() for path in found)]


def for_wheel(text: str, path: str) -> str:
    """A document of the checkout with links for its place in a wheel."""
    here = Path(place(path)).parent

    def moved(found: re.Match[str]) -> str:
        target = os.path.normpath(Path(path).parent / found[0])
        return os.path.relpath(place(target), here)

    return LINK.sub(moved, text)


class Documents(BuildHookInterface[Any]):
    """Called by hatchling for a wheel; an editable installation reads the checkout's own."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self.folder = TemporaryDirectory()
        if version == "editable":
            return
        for number, path in enumerate(documents(Path(self.root))):
            made = Path(self.folder.name) / str(number)
            made.write_text(for_wheel((Path(self.root) / path).read_text(), path))
            build_data["force_include"][str(made)] = place(path)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self.folder.cleanup()
