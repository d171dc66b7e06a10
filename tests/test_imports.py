"""The rules of who may import whom, and what must never be loaded where."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from tests import sources

PACKAGE = Path(__file__).resolve().parents[1] / "vprdist"
ROOMS = (
    *("__init__", "__main__", "sweep", "cli", "api", "driver", "plan", "report", "attribution", "status"),
    *("probes", "training", "program", "evaluation", "prepare", "network", "semantics", "search", "launch", "trackers"),
    *("demo",),
    *("distributed", "game", "data", "store", "spec", "ground"),
)
"""In the order of the way: a room imports those after it, never one before it, inside functions neither."""
GROUND = (
    *("arrays", "arrow", "client", "console", "contract", "disk", "errors", "files", "long_table", "machine"),
    *("parquet", "private", "shipped", "source", "tensors", "text_columns"),
)
"""Single files that every room may use; among themselves they make no loop."""
KEPT_NAMES = {"training/probe_worker.py": "probes"}
"""Modules that are there for job arrays of an earlier version, which may wait in a queue, and what they stand for."""
OWNERS = {
    "argparse": ("cli/", "console.py"),
    "ray": ("search/",),
    "submitit": ("launch/",),
    "pyarrow": ("semantics/cache/", "data/pack/", "arrow.py", "parquet.py", "text_columns.py", "api/table.py"),
    "pandas": ("api/table.py",),
    "pyproj": ("data/zones.py",),
    "faiss": ("evaluation/retrieve.py",),
    "h5py": ("data/hdf5.py",),
    "transformers": ("semantics/segmenters/huggingface.py",),
    "huggingface_hub": ("semantics/segmenters/weights.py", "network/backbones/timm_model.py"),
    "timm": ("network/backbones/timm_model.py",),
    "pytorch_metric_learning": ("training/losses/metric.py",),
    "onnxruntime": ("network/backbones/onnx_file.py",),
    "jinja2": ("report/page/",),
    "markupsafe": ("report/page/",),
    "matplotlib": ("report/plots.py",),
    "wandb": ("trackers/wandb_runs.py",),
    "mlflow": ("trackers/mlflow_runs.py",),
    "tensorboard": ("trackers/tensorboard_runs.py",),
    "trackio": ("trackers/trackio_runs.py",),
    "ai_edge_litert": ("semantics/segmenters/litert.py",),
}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, inside functions too; `from vprdist import x` imports vprdist.x."""
    names = set[str]()
    for node in sources.nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "vprdist":
            names |= {f"vprdist.{alias.name}" for alias in node.names if not alias.name.startswith("__")}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path} imports by dots"
            names.add(node.module)
    return frozenset(names)


def taken(nodes: Iterable[ast.AST]) -> set[str]:
    """What imports name: a module, and what is taken from it, which may be one too."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def top_imports(path: Path) -> set[str]:
    """What importing the module itself loads."""
    return taken(sources.tree(path).body)


def all_imports(path: Path) -> set[str]:
    """What the module ever loads: imports inside functions count, those for types alone do not."""
    for_types = {
        id(below)
        for node in sources.nodes(path)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for below in ast.walk(node)
    }
    return taken(node for node in sources.nodes(path) if id(node) not in for_types)


def room_of(first: str) -> str:
    """The room of a module by the first part of its name below the package."""
    return "ground" if first in GROUND else first


def test_every_module_stands_in_a_room() -> None:
    rooms = {room_of(path.parts[0].removesuffix(".py")) for path in MODULES}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_room_imports_only_those_below_it(module: Path) -> None:
    own = room_of(module.parts[0].removesuffix(".py"))
    for name in imports(PACKAGE / module):
        parts = name.split(".")
        if parts[0] != "vprdist" or len(parts) == 1:
            continue
        other = room_of(parts[1])
        if other == KEPT_NAMES.get(str(module)):
            continue
        assert ROOMS.index(own) <= ROOMS.index(other), f"{module} ({own}) imports {name} ({other}), which is above it"


def test_no_module_of_the_ground_is_in_a_loop() -> None:
    below = {
        name: {other.split(".")[1] for other in imports(PACKAGE / f"{name}.py") if other.startswith("vprdist.")}
        for name in GROUND
    }
    while free := [name for name, others in below.items() if not others & set(below)]:
        for name in free:
            del below[name]
    assert not below


def cycles(edges: dict[str, set[str]]) -> Iterable[str]:
    left = dict(edges)
    while free := [name for name, others in left.items() if not others & set(left)]:
        for name in free:
            del left[name]
    yield from left


def test_no_modules_import_each_other() -> None:
    by_name = {".".join(("vprdist", *path.with_suffix("").parts)).removesuffix(".__init__"): path for path in MODULES}
    rooms = {name for name, path in by_name.items() if path.name == "__init__.py"}
    edges = {name: all_imports(PACKAGE / path) & set(by_name) - {name} for name, path in by_name.items()}
    for name, others in edges.items():  # a module may say `from its.room import another`
        edges[name] = {other for other in others if other not in rooms or not name.startswith(f"{other}.")}
    assert not list(cycles(edges))


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_a_library_lives_in_one_room(library: str) -> None:
    users = {
        str(module) for module in MODULES if any(name.split(".")[0] == library for name in imports(PACKAGE / module))
    }
    assert users, f"{library} is used somewhere"
    for user in users:
        assert user.startswith(OWNERS[library]), f"{user} imports {library}"


WITHOUT_TORCH = (
    "vprdist.spec.sweep_file, vprdist.spec.trial, vprdist.spec.result, vprdist.spec.profile",
    "vprdist.launch.dispatcher, vprdist.launch.node",
    "vprdist.program.run, vprdist.client",
    "vprdist.search.driver, vprdist.search.readers, vprdist.search.ray_contract, vprdist.search.progress",
    "vprdist.report.leaderboard, vprdist.report.page.build, vprdist.plan.noise, vprdist.report.plots",
    "vprdist.report.publish, vprdist.report.pictures, vprdist.report.importance_tables",
    "vprdist.driver.drive, vprdist.probes.make, vprdist.probes.read, vprdist.launch.workers",
    "vprdist.attribution.attribute, vprdist.attribution.from_probes, vprdist.attribution.from_trials",
    "vprdist.sweep, vprdist.cli.commands, vprdist.driver.start, vprdist.demo, vprdist.semantics.importing",
    "vprdist.trackers.process, vprdist.trackers.beside",
    "vprdist.semantics.segmenters, vprdist.semantics.sources.segmented, vprdist.semantics.sheet",
)
"""What a login node loads, by what it does there."""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """The libraries that have appeared when a Python loads one line of them after another."""
    code = """
import importlib, json, sys
heavy, found = {"torch", "torchvision", "faiss"}, {}
for line in sys.argv[1:]:
    before = heavy & set(sys.modules)
    for name in line.split(", "):
        importlib.import_module(name)
    found[line] = sorted(heavy & set(sys.modules) - before)
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code, *WITHOUT_TORCH], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("modules", WITHOUT_TORCH)
def test_a_login_node_never_pays_for_torch(loaded: dict[str, list[str]], modules: str) -> None:
    assert loaded[modules] == []


def test_a_plan_of_small_cities_does_not_pay_for_arrow() -> None:
    code = (
        "import sys, vprdist.plan.survey, vprdist.plan.show, vprdist.data.layouts.msls; print('pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_in_semantics_only_the_segmenters_know_torch() -> None:
    for path in (PACKAGE / "semantics").rglob("*.py"):
        if any(name.split(".")[0] == "torch" for name in top_imports(path)):
            assert path.parent.name == "segmenters", f"{path} loads torch"


def test_every_folder_of_tests_mirrors_a_room() -> None:
    here = Path(__file__).parent
    rooms = {path.name for path in here.iterdir() if path.is_dir() and any(path.glob("test_*.py"))}
    assert rooms - set(ROOMS) <= {"end_to_end", "slurm", "gpu", "fuzz", "drills"}
