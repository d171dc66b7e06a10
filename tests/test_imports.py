"""The rules of who may import whom, and what must never be loaded where."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "vprdist"
ROOMS = (  # in the order in which a sweep meets them
    *("spec", "data", "semantics", "network", "training", "evaluation"),
    *("launch", "attribution", "search", "report", "attribute", "plan", "steer"),
)
ALLOWED = {
    "spec": set(),
    "data": set(),
    "semantics": {"data"},
    # network/inputs.py turns pictures and activations on disk into tensors.
    "network": {"data", "semantics"},
    "training": {"data", "semantics", "network", "evaluation"},
    "evaluation": {"data", "network"},
    "launch": set(),
    "attribution": set(),
    "search": {"launch", "attribution"},
    "report": set(),
    # It speaks of a finished sweep: of its trials, of their queries, and of the masks that its players made.
    "attribute": {"data", "semantics", "launch", "attribution", "search", "report"},
    # What a search has proposed already is not run again.
    "plan": {"launch", "search", "report", "attribution", "attribute"},
    "steer": {"launch", "report"},
}
OWNERS = {
    "ray": ("search/",),
    "submitit": ("launch/",),
    "pyarrow": ("semantics/cache/", "files.py"),
    "faiss": ("evaluation/retrieve.py",),
    "h5py": ("data/official.py",),
    "transformers": ("semantics/segmenters/huggingface.py",),
    "huggingface_hub": ("semantics/segmenters/weights.py",),
    "jinja2": ("report/page/",),
    "markupsafe": ("report/page/",),
    "matplotlib": ("report/plots.py",),
    "ai_edge_litert": ("semantics/segmenters/litert.py",),
}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def top_imports(path: Path) -> set[str]:
    """What importing the module itself loads."""
    body = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names} | {
        node.module for node in body if isinstance(node, ast.ImportFrom) and node.module
    }


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
        "vprdist.spec.sweep_file, vprdist.spec.trial, vprdist.spec.result, vprdist.spec.profile",
        "vprdist.launch.dispatcher, vprdist.launch.node",
        "vprdist.search.driver, vprdist.search.trainable, vprdist.search.progress",
        "vprdist.report.leaderboard, vprdist.report.page.build, vprdist.report.power, vprdist.report.plots",
        "vprdist.board, vprdist.pictures",
        "vprdist.drive, vprdist.probes, vprdist.probed, vprdist.launch.workers",
        "vprdist.attribute, vprdist.attribute.networks, vprdist.attribute.trained",
        "vprdist.sweep, vprdist.cli, vprdist.prepare, vprdist.data.demo, vprdist.semantics.importing",
        "vprdist.semantics.segmenters, vprdist.semantics.sources.segmented, vprdist.semantics.sheet",
    ],
)
def test_a_login_node_never_pays_for_torch(modules):
    code = f"import sys; import {modules}; print([m for m in ('torch', 'torchvision', 'faiss') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_in_semantics_only_the_segmenters_know_torch():
    for path in (PACKAGE / "semantics").rglob("*.py"):
        if any(name.split(".")[0] == "torch" for name in top_imports(path)):
            assert path.parent.name == "segmenters", f"{path} loads torch"


def test_every_folder_of_tests_mirrors_a_room():
    here = Path(__file__).parent
    rooms = {path.name for path in here.iterdir() if path.is_dir() and any(path.glob("test_*.py"))}
    assert rooms - set(ROOMS) <= {"end_to_end", "slurm", "gpu"}
