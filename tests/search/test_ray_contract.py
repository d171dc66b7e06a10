"""What is used of Ray beyond its promises is there; where it is not, one message says what, and nothing starts."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from searching import drive, spec
from toy import behave, toy_trials
from toy_driver import start

from vprdist import contract
from vprdist.console import guarded
from vprdist.contract import find_name
from vprdist.driver import start as driver
from vprdist.errors import LaunchError
from vprdist.search import ray_contract
from vprdist.search.ray_contract import ACTORS, ANSWERED, CONTROLLER, NEEDED, RAY, TOOK, check_ray, missing
from vprdist.spec.sweep_file import read_sweep

ROOT = Path(__file__).resolve().parents[2]
SEARCH = ROOT / "vprdist" / "search"
PUBLIC = {"ray.tune", "ray.tune.search", "ray.tune.schedulers", "ray.tune.search.optuna"}
"""What other files of the room may take from; Ray's documentation promises to keep it."""


@pytest.mark.parametrize("name", NEEDED)
def test_every_name_is_there_with_its_parameters(name: str) -> None:
    check_ray()
    assert [line for line in missing() if line.split(" takes ")[0].removeprefix("no ") == name] == []


def test_nothing_else_is_missing_or_asked() -> None:
    assert list(missing()) == []


def of_ray(path: Path) -> Iterator[tuple[str, str]]:
    """What a file takes from Ray: modules and names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ray":
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "ray")


def test_what_ray_does_not_promise_is_used_in_one_file_and_all_of_it_is_looked_at() -> None:
    for path in SEARCH.glob("*.py"):
        if path.name != "in_process.py":
            assert {module for module, _ in of_ray(path)} - {"ray"} <= PUBLIC, path
    looked_at = {name.partition(".on_")[0] for name in NEEDED}
    for module, name in of_ray(SEARCH / "in_process.py"):
        if (module, name) != ("ray", "tune"):
            assert f"{module}:{name}" in looked_at, f"{name} of {module} is not in NEEDED"


def test_ours_answer_whatever_they_stand_for() -> None:
    from vprdist.search import in_process
    from vprdist.search.readers import Readers

    ours = {
        "_actor_manager": in_process.Actors(Readers()),
        "_class_cache": in_process._Classes(),
        "_insufficient_resources_manager": in_process._Patience(),
    }
    for attribute, names in ANSWERED.items():
        assert [name for name in names if not hasattr(ours[attribute], name)] == []
    for method, taken in TOOK.items():
        assert tuple(inspect.signature(getattr(ours["_actor_manager"], method)).parameters) == taken
    assert in_process.Controller.__mro__[1] is find_name(CONTROLLER)
    overridden = {name for name in vars(in_process.Controller) if not name.startswith("__")}
    assert {f"{CONTROLLER}.{name}" for name in overridden} <= set(NEEDED), "an override of nothing would do nothing"


def tampered(monkeypatch: pytest.MonkeyPatch, name: str, with_: Any) -> None:
    """A Ray in which that name is something else; None: it is not there."""
    for module in (contract, ray_contract):
        monkeypatch.setattr(module, "find_name", lambda wanted: with_ if wanted == name else find_name(wanted))


class Renamed:
    """A controller whose parts have other names, and which asks more."""

    def __init__(self) -> None:
        self._manager: Any = None
        self._class_cache: Any = None
        self._insufficient_resources_manager: Any = None
        self._actor_manager_of_old = None

    def step(self) -> None:
        self._class_cache.forget()


@pytest.mark.parametrize(
    ("name", "with_", "said"),
    [
        ("ray.tune.experiment:Experiment._storage_context_cls", None, "no ray.tune.experiment:Experiment._storage"),
        (f"{CONTROLLER}.checkpoint", lambda self, force: None, f"{CONTROLLER}.checkpoint takes no wait"),
        (f"{ACTORS}.next", lambda self, timeout, until: None, f"{ACTORS}.next takes until too"),
        (CONTROLLER, Renamed, f"{CONTROLLER} has no _actor_manager"),
        (CONTROLLER, Renamed, f"{CONTROLLER} asks _class_cache.forget"),
    ],
)
def test_what_another_ray_lacks_is_named(monkeypatch: pytest.MonkeyPatch, name: str, with_: Any, said: str) -> None:
    tampered(monkeypatch, name, with_)
    assert any(line.startswith(said) for line in missing())
    with pytest.raises(LaunchError, match="is not one that this driver knows"):
        check_ray()


def test_a_ray_that_lacks_something_is_one_message_with_the_remedy_and_nothing_is_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = importlib.metadata.version("ray")
    tampered(monkeypatch, f"{CONTROLLER}.step", None)
    assert guarded(lambda console: len(drive(tmp_path, spec({"scheduler": "asha"}), grid=(0.01,)).results)) == 2
    assert capsys.readouterr().err == (
        f"error: Ray: version {version} is not one that this driver knows: 'no {CONTROLLER}.step'. Nothing was "
        f"started. Install another: pip install '{RAY.versions}'.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", [None, "2.39.0", f"{RAY.below}.0", "3.1"])
def test_a_sweep_looks_at_another_version_before_it_makes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], version: str | None
) -> None:
    def installed(name: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    metadata = SimpleNamespace(version=installed, PackageNotFoundError=importlib.metadata.PackageNotFoundError)
    monkeypatch.setattr(contract.importlib, "metadata", metadata)
    tampered(monkeypatch, "ray.tune:Trainable", None)
    sweep = read_sweep(ROOT / "sweeps" / "table1.yaml")
    assert guarded(lambda console: driver.run(sweep, tmp_path / "runs", console)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: Ray: it is not installed" if version is None else "error: Ray: version")
    assert f"pip install '{RAY.versions}'" in error
    assert not (tmp_path / "runs" / "trials").exists()
    assert not (tmp_path / "runs" / "sweeps").exists()


def test_a_known_version_is_not_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; from vprdist.search.ray_contract import check_version as c; c(); assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_ray_that_cannot_be_loaded_is_said_and_costs_no_finished_sweep_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, broken = tmp_path / "runs", tmp_path / "broken"
    behave(runs, steps=1, dt=0.01)
    assert "results 1" in start("search", runs, 1).communicate(timeout=300)[0]
    (broken / "ray").mkdir(parents=True)
    (broken / "ray" / "__init__.py").write_text("raise OSError('libstdc++.so.6 is too old')\n")
    monkeypatch.setenv("PYTHONPATH", f"{broken}:{ROOT}")
    cold = partial(start, "search", popen=subprocess.Popen)
    assert "results 1" in cold(runs, 1).communicate(timeout=300)[0], "nothing is left to do"
    said = cold(runs, 2).communicate(timeout=300)[0]
    assert "Ray: it cannot be loaded: 'OSError: libstdc++.so.6 is too old'" in said
    assert len(list((runs / "trials").iterdir())) == len(toy_trials(1)), "nothing was started"


def test_what_is_installed_by_pip_is_what_is_known() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert RAY.versions in declared


def test_a_question_that_would_start_a_cluster_raises() -> None:
    code = "from vprdist.search.ray_contract import check_ray; check_ray(); import ray; ray.cluster_resources()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Ray has not been started yet" in done.stderr
