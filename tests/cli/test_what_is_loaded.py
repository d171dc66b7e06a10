"""What a command loads, told by a real process: nobody waits for a library that the command does not use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plan.test_plan import SWEEP
from tests.report.making import four
from vprdist.cli.words import WORDS

HEAVY = (
    "torch", "torchvision", "ray", "scipy", "numpy", "pandas", "pyarrow", "PIL", "matplotlib", "submitit", "jinja2",
    "optuna", "h5py",
)  # fmt: skip
TOLD = """
import sys
from vprdist.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
import json
print("\\n" + json.dumps([code, sorted(sys.modules)]))
"""


def run(*words: object, **more: str) -> tuple[int | None, set[str], str]:
    """The exit code, the modules that the process had in the end, and what it printed."""
    environment = {**os.environ, **more}
    command = [sys.executable, "-c", TOLD, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    said, _, last = done.stdout.rstrip().rpartition("\n")
    code, modules = json.loads(last)
    return code, set(modules), said


def heavy(modules: set[str]) -> set[str]:
    return modules & set(HEAVY)


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """An environment where torch, torchvision and ray cannot be imported, by what is started below either."""
    place = tmp_path / "without"
    for name in ("torch", "torchvision", "ray"):
        (place / name).mkdir(parents=True)
        (place / name / "__init__.py").write_text(f"raise RuntimeError('{name} was loaded')\n")
    return {"PYTHONPATH": os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])}


def test_the_help_loads_no_command(without: dict[str, str]) -> None:
    code, modules, said = run("--help", **without)
    assert code == 0 and all(f"\n    {name}" in said for name in WORDS)
    assert not heavy(modules) and "pydantic" not in modules and "yaml" not in modules
    assert {name for name in modules if name.startswith("vprdist.")} <= {
        "vprdist.cli", "vprdist.cli.commands", "vprdist.cli.options", "vprdist.cli.words", "vprdist.console",
        "vprdist.disk", "vprdist.errors", "vprdist.long_table", "vprdist.machine",
    }  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_the_help_of_a_command_is_that_of_the_table(name: str) -> None:
    """Whole and short, it says the same line."""
    from vprdist.cli.commands import _parser

    if name != "sweep":
        whole, short = _parser().format_help(), _parser([name]).format_help()
        assert whole == short == _parser([]).format_help()


def test_a_look_loads_nothing_that_calculates(tmp_path: Path, without: dict[str, str]) -> None:
    folder = four(tmp_path)
    trial = sorted(path.name for path in (tmp_path / "trials").iterdir())[0]
    runs = ("--runs", tmp_path)
    for words in (
        ("keys", "trial.train"), ("logs", trial, *runs), ("status", *runs), ("status", folder.name, *runs),
        ("status", folder.name, "--json", *runs),
    ):  # fmt: skip
        code, modules, _ = run(*words, **without)
        assert code == 0 and not heavy(modules), words
    code, modules, said = run("cancel", folder.name, "--yes", *runs, **without)
    assert code == 0 and "Nothing to cancel" in said and not heavy(modules) & {"torch", "torchvision", "ray"}
    code, modules, said = run("leaderboard", folder.name, *runs, **without)
    assert code == 0 and "4 of 4 trials" in said and not heavy(modules) & {"torch", "torchvision", "ray"}
    assert "scipy.stats" not in modules


def test_a_plan_whose_networks_were_counted_loads_no_torch(
    small_tree: Path, tmp_path: Path, without: dict[str, str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SWEEP.format(root=small_tree))
    code, modules, first = run("plan", file, "--runs", tmp_path / "runs")
    assert code == 0 and not heavy(modules) & {"torch", "torchvision", "ray"}, "a process of its own counted them"
    code, modules, again = run("plan", file, "--runs", tmp_path / "runs", **without)
    assert code == 0 and not heavy(modules) & {"torch", "torchvision", "ray", "scipy", "pandas", "submitit", "jinja2"}
    told = [
        [line for line in text.splitlines() if not line.startswith(("counting networks", "  free there"))]
        for text in (first, again)
    ]
    assert told[0] == told[1] and any("11.18 M" in line for line in told[1])


def test_a_finished_sweep_asked_for_again_loads_neither_torch_nor_ray(tmp_path: Path, without: dict[str, str]) -> None:
    (tmp_path / "train.py").write_text(
        "from vprdist import client\nclient.log(1, score=0.5)\nclient.finish(score=0.5)\n"
    )
    file = tmp_path / "mine.yaml"
    job = "{command: [python, train.py], leaves: result}"
    file.write_text(f"name: mine\ntrial: {{job: {job}}}\nseeds: [0, 1]\nobjective: score\ncluster: local\n")
    words = ("sweep", file, "--runs", tmp_path / "runs")
    assert run(*words)[0] == 0
    code, modules, said = run(*words, **without)
    assert code == 0 and "2 of 2 trials" in said and not heavy(modules) & {"torch", "torchvision", "ray"}
