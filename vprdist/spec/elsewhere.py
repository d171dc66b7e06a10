"""Where networks from elsewhere lie on this machine, told without torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vprdist.files import at_home
from vprdist.spec.doors import BackboneName

CONF = "hubconf.py"
NAME = re.compile(r"(?P<owner>[\w.-]+)/(?P<repo>[\w.-]+)(:(?P<ref>[\w./-]+))?")


def hub_places(repo: str) -> list[Path]:
    """The folders that may be meant by a sweep file's `repo`: one on this disk, or in torch's local store."""
    path = Path(repo)
    if (path / CONF).is_file() or path.is_absolute() or (match := NAME.fullmatch(repo)) is None:
        return [path]
    refs = [match["ref"].replace("/", "_")] if match["ref"] else ["main", "master"]
    return [_store() / f"{match['owner']}_{match['repo']}_{ref}" for ref in refs]


def _store() -> Path:
    """As torch.hub finds it."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return at_home(os.environ.get("TORCH_HOME", f"{cache}/torch")) / "hub"


def places_of(backbone: BackboneName) -> list[Path]:
    """The file or folder of a network from elsewhere, which compute nodes must see."""
    if backbone.path is None:
        return []
    return hub_places(backbone.path) if backbone.name == "hub" else [Path(backbone.path)]


def code_of(backbone: BackboneName) -> list[Path]:
    """What Python may load of it: the files of a folder of torch.hub's, and their compiled forms."""
    if backbone.name != "hub":
        return []
    return [path for place in places_of(backbone) for path in code_files(place, "*.py*")]


def code_files(folder: Path, pattern: str = "*.py") -> list[Path]:
    """The Python files of a folder, but for hidden ones."""
    found = [path for path in folder.rglob(pattern) if path.is_file()]
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))
