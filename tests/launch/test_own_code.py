"""Helpers and jobs run the code of the driver that started them, also where another copy is installed, or none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vprdist
from vprdist.launch import own_code
from vprdist.launch.own_code import unnamed, with_own_code
from vprdist.private import OURSELVES

DRIVER = """
import os
from pathlib import Path
from vprdist.launch.cluster import Submission, submit
from vprdist.launch.params import job_environment
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.store.journal import JobRecord, new_token
from vprdist.store.trial_folder import TrialFolder

trial = TrialSpec().resolved(Digests(dataset="d", cache=None, weights="w"))
folder = TrialFolder.of(Path("runs").resolve(), trial.trial_id)
folder.write_trial(trial)
record = JobRecord(
    state="intent", cluster="local", name="vprdist-a", token=new_token(), attempt=1, job="vprdist.mark:tell",
    parameters={"timeout_min": 1, "tasks_per_node": 1}, machine="",
)
refused = submit([Submission(folder, record)], job_environment(os.environ, 1))
assert not refused, refused
"""
MARK = """
def tell(trial, folder, world):
    print("the code of", __file__, flush=True)
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    unnamed.cache_clear()
    yield
    unnamed.cache_clear()


def at(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setattr(own_code.vprdist, "__file__", str(root / "vprdist" / "__init__.py"))


def test_a_job_of_a_checkout_runs_the_code_of_that_checkout(tmp_path: Path) -> None:
    from tests.waiting import until

    checkout = tmp_path / "checkout"
    package = Path(vprdist.__file__).parent
    shutil.copytree(package, checkout / "vprdist", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (tmp_path, *checkout.rglob("*"), checkout):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (checkout / "vprdist" / "mark.py").write_text(MARK)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", DRIVER]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    def said() -> str:
        logs = (checkout / "runs" / "trials").glob("*/log/attempt-*/*")
        return "\n".join(path.read_text(errors="replace") for path in logs if path.suffix in (".out", ".err", ".log"))

    until(lambda: "the code of" in said() or "No module named" in said())
    assert f"the code of {checkout}/vprdist/mark.py" in said()


def test_the_drivers_folder_comes_first_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    at(monkeypatch, tmp_path)
    assert with_own_code({"A": "b"}, OURSELVES) == {"A": "b", "PYTHONPATH": str(tmp_path)}
    given = {"PYTHONPATH": os.pathsep.join(["/x", str(tmp_path), "/y"])}
    assert with_own_code(given, OURSELVES)["PYTHONPATH"] == os.pathsep.join([str(tmp_path), "/x", "/y"])


def test_what_is_installed_is_not_put_before_pythons_own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, Path("/usr/lib/python3/site-packages"))
    assert with_own_code({"PYTHONPATH": "/x"}, OURSELVES) == {"PYTHONPATH": "/x"}
    assert unnamed(OURSELVES) is None


def test_a_folder_that_others_may_write_to_is_not_named_and_that_is_said(
    open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_path.chmod(0o777)
    at(monkeypatch, open_path)
    assert with_own_code({}, OURSELVES) == {}
    assert "somebody else may write to it" in (unnamed(OURSELVES) or "")
