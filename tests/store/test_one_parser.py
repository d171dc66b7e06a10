"""Each file below `runs/` is named in one place of the package, and read in one place: a form has one owner."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

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


def literals(tree: ast.Module) -> Iterator[str]:
    """Strings that are values, parts of formatted ones too; docstrings are none."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def names_a_file(text: str, name: str) -> bool:
    """The text is that name, or ends with it as a path does; a sentence that speaks of the file does not count."""
    return re.search(rf"(^|/){re.escape(name)}$", text) is not None


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in MODULES}


@pytest.mark.parametrize("name", OWNERS)
def test_a_file_of_the_run_folder_is_named_once(trees: dict[str, ast.Module], name: str) -> None:
    found = Counter(module for module, tree in trees.items() for text in literals(tree) if names_a_file(text, name))
    assert found == dict.fromkeys(OWNERS[name], 1)


def test_json_lines_are_read_by_the_owner_of_their_file(trees: dict[str, ast.Module]) -> None:
    users = {
        module
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id == "read_json_lines")
        or (isinstance(node, ast.FunctionDef) and node.name == "read_json_lines")
    }
    assert users == LINES


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_made_of_a_files_text_in_one_place(trees: dict[str, ast.Module], record: str) -> None:
    users = {
        module
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        # What a process is told on its standard input is no file.
        if re.match(
            rf"(read_spec|read_checked)\(.*, {record}, |{record}\.model_validate_json\(.*read", ast.unparse(node)
        )
    }
    assert users == RECORDS[record]


def test_a_name_in_a_sentence_or_a_docstring_is_no_file() -> None:
    tree = ast.parse('"""`job.json`"""\npath = f"{folder}/job.json"\nprint("see job.json, and my-job.json")\n')
    assert [text for text in literals(tree) if names_a_file(text, "job.json")] == ["/job.json"]
