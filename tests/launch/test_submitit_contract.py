"""What is used of submitit beyond its promises is there; where it is not, one message says what, and nothing starts."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import submitit

from vprdist import contract
from vprdist.console import guarded
from vprdist.contract import find_name
from vprdist.driver import start as driver
from vprdist.launch.driver_job import driver_script
from vprdist.launch.params import submission_parameters
from vprdist.launch.slurm import python_and_rest
from vprdist.launch.submitit_contract import CALL, NEEDED, SCRIPT, SUBMITIT, missing
from vprdist.spec.profile import ClusterProfile, profile_names, read_profile
from vprdist.spec.sweep_file import read_sweep

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "vprdist" / "launch"
PUBLIC = {("submitit", ""), ("submitit", "Job")}
"""What submitit's own documentation promises, beside what is looked at."""
SAME = {"submitit.helpers:DelayedSubmission": CALL}
"""Another place where the same class is found."""


@pytest.mark.parametrize("name", NEEDED)
def test_every_name_is_there_with_its_parameters(name: str) -> None:
    assert [line for line in missing() if line.split(" takes ")[0].removeprefix("no ") == name] == []


def test_nothing_else_is_missing() -> None:
    assert list(missing()) == []


def of_submitit(path: Path) -> Iterator[tuple[str, str]]:
    """What a file takes from submitit: modules and names, and `submitit.NAME`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "submitit":
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "submitit")
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "submitit":
            yield "submitit", node.attr


def test_all_that_the_room_takes_is_looked_at() -> None:
    taken = {(path.name, *each) for path in LAUNCH.glob("*.py") for each in of_submitit(path)}
    assert len({file for file, _, _ in taken}) > 5, "imports are found at all"
    for file, module, name in taken:
        if (module, name) not in PUBLIC and (module, name) != ("submitit", "JobEnvironment"):
            whole = SAME.get(f"{module}:{name}", f"{module}:{name}")
            assert any(f"{each}.".startswith(f"{whole}.") for each in NEEDED), (
                f"{file} takes {name} of {module}, which is not in NEEDED"
            )
    assert find_name("submitit:JobEnvironment") is find_name("submitit.core.job_environment:JobEnvironment")
    assert find_name("submitit.helpers:DelayedSubmission") is find_name(CALL)


def test_ours_override_what_is_there() -> None:
    """An override of nothing would do nothing: submitit's own command would start jobs."""
    from vprdist.launch import executor

    for ours in (executor.SlurmExecutor, executor.LocalExecutor):
        overridden = {name for name in vars(ours) if not name.startswith(("__", "_abc_"))}
        assert overridden and {f"submitit:{ours.__name__}.{name}" for name in overridden} <= set(NEEDED)
        assert ours.__mro__[1] is find_name(f"submitit:{ours.__name__}")


def test_every_word_of_a_script_is_one_that_submitit_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = ClusterProfile(
        kind="slurm", partition="a", account="a", qos="a", constraint="a", exclude=("n1",), nodelist=("n2",),
        gpus_per_node=1, cpus_per_task=2, memory_gb=3, dependency="singleton", exclusive=True, mail_user="a@b.c",
        mail_types=("FAIL",), setup=("true",), teardown=("true",), srun_args=("-l",), gres="nvme:1", wckey="a",
        python="python3",
    )  # fmt: skip
    words = {"command", "folder", "map_count"}
    for profile in (full, *(read_profile(name) for name in profile_names() if name != "local")):
        words |= set(python_and_rest(submission_parameters(profile, "t" * 16, "token"))[1])
    given: set[str] = set()
    monkeypatch.setattr(find_name_module(SCRIPT), "_make_sbatch_string", lambda **told: given.update(told) or "")
    driver_script(tmp_path / "runs" / "sweeps" / "mine", tmp_path / "runs", full, 1)
    assert len(given) > 10
    assert words | given <= set(NEEDED[SCRIPT])
    assert {"teardown", "nodelist", "srun_args"} <= words, "the profile is full"


def find_name_module(name: str) -> Any:
    return inspect.getmodule(find_name(name))


def tampered(monkeypatch: pytest.MonkeyPatch, name: str, with_: Any) -> None:
    """A submitit in which that name is something else; None: it is not there."""
    monkeypatch.setattr(contract, "find_name", lambda wanted: with_ if wanted == name else find_name(wanted))


class Renamed:
    """An executor that keeps its folder under another name."""

    def __init__(self) -> None:
        self.place: Any = None
        self.parameters: Any = None


@pytest.mark.parametrize(
    ("name", "with_", "said"),
    [
        (SCRIPT, None, f"no {SCRIPT}"),
        (SCRIPT, lambda command, folder: "", f"{SCRIPT} takes no job_name, partition, "),
        (f"{CALL}.set_timeout", lambda self, minutes: None, f"{CALL}.set_timeout takes no timeout_min, max_num"),
        ("submitit.core.core:Executor", Renamed, "submitit.core.core:Executor has no folder"),
    ],
)
def test_what_another_submitit_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, with_: Any, said: str
) -> None:
    tampered(monkeypatch, name, with_)
    assert [line[: len(said)] for line in missing()] == [said]


@pytest.mark.parametrize("version", [None, "1.5.3", "1.6.0", "2.0"])
def test_a_sweep_looks_at_another_version_before_it_makes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], version: str | None
) -> None:
    ray = importlib.metadata.version("ray")

    def installed(name: str) -> str:
        if name == "ray":
            return ray
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    metadata = SimpleNamespace(version=installed, PackageNotFoundError=importlib.metadata.PackageNotFoundError)
    monkeypatch.setattr(contract.importlib, "metadata", metadata)
    tampered(monkeypatch, f"{CALL}.dump", None)
    sweep = read_sweep(ROOT / "sweeps" / "table1.yaml")
    assert guarded(lambda console: driver.run(sweep, tmp_path / "runs", console)) == 2
    own = submitit.__version__
    fault = f"version {own} is not one that this driver knows: 'no {CALL}.dump'"
    assert capsys.readouterr().err == (
        f"error: submitit: {'it is not installed' if version is None else fault}. Nothing was started. "
        f"Install another: pip install '{SUBMITIT.versions}'.\n"
    )
    assert not (tmp_path / "runs" / "trials").exists()
    assert not (tmp_path / "runs" / "sweeps").exists()


def test_a_known_version_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys; from vprdist.launch.submitit_contract import check_submitit as c; c(); "
    subprocess.run([sys.executable, "-c", f"{code} assert 'submitit' not in sys.modules"], check=True)


def test_what_is_installed_by_pip_is_what_is_known() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert SUBMITIT.versions in declared
