"""`vprdist.client`, as a program uses it: in a process of its own, with and without vprdist around it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vprdist.client as client

PACKAGE = Path(client.__file__).resolve().parents[1]


def run(folder: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = folder / "mine.py"
    script.write_text(text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VPRDIST_")}
    return subprocess.run(
        [sys.executable, str(script)], env={**clean, "PYTHONPATH": str(PACKAGE), **environment}, cwd=folder,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_it_needs_nothing_but_python() -> None:
    tree = ast.parse(Path(client.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_a_program_runs_by_itself(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "from vprdist import client as c\n"
        "p = c.params(lr=0.5)\n"
        "c.log(1, loss=p['lr'])\n"
        "assert not c.should_stop() and c.rank() == 0 and c.world_size() == 1 and c.seed(7) == 7\n"
        "c.finish(loss=0.25)\n",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'step=1 loss=0.5\nfinished: {"loss": 0.25}\n'


def test_parameters_rows_and_result_go_through_files(tmp_path: Path) -> None:
    (tmp_path / "trial.json").write_text(json.dumps({"params": {"lr": 0.1, "net": {"width": 8}}, "seed": 3}))
    done = run(
        tmp_path,
        "from vprdist import client as c\n"
        "p = c.params(lr=0.5, net={}, more=1)\n"
        "assert p == {'lr': 0.1, 'net': {'width': 8}, 'more': 1} and c.seed() == 3\n"
        "c.log(1, loss=float('nan'), acc=1); c.log(2, loss=2)\n"
        "c.finish(loss=float('inf'), acc=0.5, predictions='p.txt', descriptors=['q.npz'])\n",
        VPRDIST_TRIAL=str(tmp_path / "trial.json"),
        VPRDIST_METRICS=str(tmp_path / "m.jsonl"),
        VPRDIST_FINISHED=str(tmp_path / "f.json"),
    )
    assert done.returncode == 0, done.stderr
    assert "step 1: loss is nan; it is left out" in done.stderr and "the result: loss is inf" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k != "time"} for row in rows] == [
        {"kind": "evaluate", "step": 1, "acc": 1.0},
        {"kind": "evaluate", "step": 2, "loss": 2.0},
    ]
    said = json.loads((tmp_path / "f.json").read_text())
    assert said["metrics"] == {"acc": 0.5} and said["not_finite"] == ["loss"]
    assert said["predictions"] == str(tmp_path / "p.txt") and said["descriptors"] == [str(tmp_path / "q.npz")]


def test_a_parameter_that_the_program_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trial.json").write_text(json.dumps({"params": {"lrr": 0.1}}))
    done = run(
        tmp_path, "from vprdist import client as c\nc.params(lr=0.5)\n", VPRDIST_TRIAL=str(tmp_path / "trial.json")
    )
    assert done.returncode and "trial.params has lrr, which the program does not know; it has lr" in done.stderr


def test_other_ranks_are_not_heard(tmp_path: Path) -> None:
    done = run(
        tmp_path, "from vprdist import client as c\nc.log(1, loss=1.0); c.finish(loss=1.0)\n", VPRDIST_RANK="1",
        VPRDIST_METRICS=str(tmp_path / "m.jsonl"), VPRDIST_FINISHED=str(tmp_path / "f.json"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py"] and not done.stdout


@pytest.mark.parametrize("step", [-1, 1.5, True])
def test_a_step_is_a_whole_number(step: float) -> None:
    with pytest.raises(ValueError, match="whole number"):
        client.log(step, loss=1.0)  # type: ignore[arg-type]
