"""What comes with the package and is no code of it: sweeps to start from, profiles, what SLURM needs.

There is one copy. A checkout has it beside the package, in `sweeps/` and `slurm/`; a wheel carries it inside the
package. A file of the working folder comes before the shipped one of the same name.
"""

from __future__ import annotations

import os
from pathlib import Path

INSIDE = "_shipped"
"""The folder of a wheel's package that holds what lies beside the package in a checkout."""
FOLDERS = ("sweeps", "slurm")


def shipped_root() -> Path:
    """The folder that holds the shipped `sweeps` and `slurm`."""
    package = Path(__file__).resolve().parent
    inside = package / INSIDE
    return inside if inside.is_dir() else package.parent


def shipped_files() -> list[Path]:
    """The shipped files, as paths below `shipped_root`; without documents, and what Python and editors leave there."""
    root = shipped_root()
    found = (path.relative_to(root) for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file())
    return sorted(path for path in found if path.suffix != ".md" and not any(part[0] in "._" for part in path.parts))


def shipped_instead(path: Path) -> Path | None:
    """The shipped file for a path such as `sweeps/table1.yaml` that the working folder does not have; None: there is
    none, or the working folder has something there."""
    if os.path.lexists(path) or path not in shipped_files():
        return None
    return shipped_root() / path
