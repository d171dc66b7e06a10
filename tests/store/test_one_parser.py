"""Each file below `runs/` is named in one place of the package, and read in one place: a form has one owner."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests import sources

PACKAGE = Path(__file__).resolve().parents[2] / "vprdist"
OWNERS = {
    "trial.json": ("store/trial_folder.py",),
    "job.json": ("store/driving.py", "store/trial_folder.py"),  # a driver's job, and a trial's
    "failure.json": ("store/trial_folder.py",),
    "starts.jsonl": ("store/trial_folder.py",),
    "metrics.jsonl": ("store/trial_folder.py",),
    "result.json": ("store/trial_folder.py",),
    "rendezvous.json": ("store/trial_folder.py",),
    "queries.parquet": ("store/queries.py",),
    # a cache's, which class tables are taken from too, a pack's, and a sweep's
    "manifest.json": (
        "data/pack/format.py",
        "semantics/cache/format.py",
        "spec/class_table.py",
        "store/manifest.py",
    ),
    "sweep.yaml": ("store/manifest.py",),
    "proposals.jsonl": ("store/proposals.py",),
    "cancelled.json": ("store/driving.py",),
    "attribution.": ("store/attribution_file.py",),
    "nodes.jsonl": ("launch/nodes.py",),
    "order.json": ("launch/array_folder.py",),
    "demo.json": ("demo/mark.py",),
}
"""Where a file's name is spelled, once. Outside of store: what lies beside caches, cities and jobs, not in a sweep's or
a trial's folder."""
LINES = {"files.py", "launch/nodes.py", "store/proposals.py", "store/trial_folder.py"}
"""These modules read JSON lines."""
RECORDS = {
    "Failure": {"store/trial_folder.py"},
    "JobRecord": {"store/trial_folder.py"},
    "DriverRecord": {"store/driving.py"},
    "ResultRow": {"store/result_file.py"},
    "TrialSpec": {"store/trial_folder.py"},
    "AttributionReport": {"store/attribution_file.py"},
    "PartReport": {"probes/read.py"},  # a part of probes is told by its order, which stands above store
}
"""These modules make them of a file's text."""
MODULES = sorted(PACKAGE.rglob("*.py"))


def literals(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """Strings that are values, parts of formatted ones too; docstrings are none."""
    prose = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def named(function: ast.expr) -> str:
    """The last part of a called function's name."""
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def names_a_file(text: str, name: str) -> bool:
    """The text is that name, or ends with it as a path does; a sentence that speaks of the file does not count."""
    return re.search(rf"(^|/){re.escape(name)}$", text) is not None


@pytest.fixture(scope="module")
def modules() -> dict[str, Sequence[ast.AST]]:
    """The nodes of each."""
    return {str(path.relative_to(PACKAGE)): sources.nodes(path) for path in MODULES}


@pytest.fixture(scope="module")
def strings(modules: dict[str, Sequence[ast.AST]]) -> list[tuple[str, str]]:
    """Every module with each of its literals."""
    return [(module, text) for module, nodes in modules.items() for text in literals(nodes)]


@pytest.fixture(scope="module")
def calls(modules: dict[str, Sequence[ast.AST]]) -> list[tuple[str, str]]:
    """Every module with each call that it makes, as text."""
    return [
        (module, ast.unparse(node))
        for module, nodes in modules.items()
        for node in nodes
        # What makes a record has one of these names: other calls are dear to write out.
        if isinstance(node, ast.Call) and named(node.func) in ("read_spec", "read_checked", "model_validate_json")
    ]


@pytest.mark.parametrize("name", OWNERS)
def test_a_file_of_the_run_folder_is_named_once(strings: list[tuple[str, str]], name: str) -> None:
    found = Counter(module for module, text in strings if names_a_file(text, name))
    assert found == dict.fromkeys(OWNERS[name], 1)


def test_json_lines_are_read_by_the_owner_of_their_file(modules: dict[str, Sequence[ast.AST]]) -> None:
    users = {
        module
        for module, nodes in modules.items()
        for node in nodes
        if (isinstance(node, ast.Name) and node.id == "read_json_lines")
        or (isinstance(node, ast.FunctionDef) and node.name == "read_json_lines")
    }
    assert users == LINES


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_made_of_a_files_text_in_one_place(calls: list[tuple[str, str]], record: str) -> None:
    # What a process is told on its standard input is no file.
    made = re.compile(rf"(read_spec|read_checked)\(.*, {record}, |{record}\.model_validate_json\(.*read")
    assert {module for module, text in calls if made.match(text)} == RECORDS[record]


def test_a_name_in_a_sentence_or_a_docstring_is_no_file() -> None:
    tree = ast.parse('"""`job.json`"""\npath = f"{folder}/job.json"\nprint("see job.json, and my-job.json")\n')
    assert [text for text in literals(list(ast.walk(tree))) if names_a_file(text, "job.json")] == ["/job.json"]
