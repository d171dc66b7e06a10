"""The rules of who may import whom, and what must never be loaded where."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "vprdist"
ROOMS = ("spec", "data", "semantics", "network", "training", "evaluation", "launch", "search", "report")
ALLOWED = {
    "spec": set(),
    "data": set(),
    "semantics": {"data"},
    # network/inputs.py turns pictures and activations on disk into tensors.
    "network": {"data", "semantics"},
    "training": {"data", "semantics", "network", "evaluation"},
    "evaluation": {"data", "network"},
    "launch": set(),
    "search": {"launch"},
    "report": set(),
}
OWNERS = {
    "ray": ("search/",),
    "submitit": ("launch/",),
    "pyarrow": ("semantics/cache/", "files.py"),
    "faiss": ("evaluation/retrieve.py",),
}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_its_neighbours(room):
    for path in (PACKAGE / room).rglob("*.py"):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "vprdist" and len(parts) > 1 and parts[1] in ROOMS:
                assert parts[1] in ALLOWED[room] | {room, "spec"}, f"{path} imports {name}"


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_a_library_lives_in_one_room(library):
    users = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users, f"{library} is used somewhere"
    for user in users:
        assert user.startswith(OWNERS[library]), f"{user} imports {library}"


@pytest.mark.parametrize(
    "modules",
    [
        "vprdist.spec.sweep, vprdist.spec.trial, vprdist.spec.result, vprdist.spec.profile",
        "vprdist.launch.dispatcher, vprdist.launch.node",
        "vprdist.search.driver, vprdist.search.trainable, vprdist.search.progress",
        "vprdist.report.leaderboard",
        "vprdist.sweep, vprdist.cli, vprdist.prepare, vprdist.data.demo, vprdist.semantics.importing",
    ],
)
def test_a_login_node_never_pays_for_torch(modules):
    code = f"import sys; import {modules}; print([m for m in ('torch', 'torchvision', 'faiss') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_folder_of_tests_mirrors_a_room():
    here = Path(__file__).parent
    rooms = {path.name for path in here.iterdir() if path.is_dir() and any(path.glob("test_*.py"))}
    assert rooms - set(ROOMS) <= {"end_to_end"}
