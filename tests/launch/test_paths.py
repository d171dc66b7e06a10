"""Paths that SLURM or submitit would read as others are refused wherever a script or a log is made of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from vprdist.cli.commands import run_command as main
from vprdist.errors import LaunchError
from vprdist.launch.array_folder import Array
from vprdist.launch.driver_job import driver_script
from vprdist.launch.params import submission_parameters
from vprdist.launch.paths import check_folder
from vprdist.launch.permit import PACKAGE_ALONE
from vprdist.launch.slurm import job_script
from vprdist.spec.profile import ClusterProfile

SWEEP = Path(__file__).resolve().parents[2] / "sweeps" / "table1.yaml"
PROFILE = ClusterProfile(kind="slurm")
INJECTS = "a\n#SBATCH --wrap=id"


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ('it\'s "a" $HOME; `run` #1 *', {}),
        ("ümläut-100", {}),
        (INJECTS, {"slurm": "'\\n'"}),
        ("tab\tx", {"slurm": "'\\t'"}),
        ("back\\slash", {"slurm": "'\\\\'"}),
        ("half%", {"slurm": "'%'"}),
        ("p%%q", {"slurm": "'%%'"}),
        ("of-%x", {"slurm": "'%x'"}),
        ("at-%5N", {"slurm": "'%5'"}),
        ("job-%j", {"slurm": "'%j'", "local": "'%j'"}),
        ("%t", {"slurm": "'%t'", "local": "'%t'"}),
        ("%A_%a", {"slurm": "'%A'", "local": "'%A'"}),
    ],
)
def test_what_cannot_be_quoted_is_refused_and_named(name: str, kinds: dict[Literal["slurm", "local"], str]) -> None:
    for kind in ("slurm", "local"):
        if kind not in kinds:
            check_folder(Path("/runs", name), kind)
            continue
        with pytest.raises(LaunchError) as caught:
            check_folder(Path("/runs", name), kind)
        assert f"; found {kinds[kind]}." in str(caught.value) or f": {kinds[kind]}." in str(caught.value)
        assert "\n" not in str(caught.value)


def test_no_script_is_made_of_such_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LaunchError, match="cannot name a path"):
        job_script(submission_parameters(PROFILE, "a", "b"), tmp_path / INJECTS)
    with pytest.raises(LaunchError, match="cannot name a path"):
        driver_script(tmp_path / INJECTS / "sweeps" / "s", tmp_path / INJECTS, PROFILE, 1.0)
    (tmp_path / INJECTS).mkdir()
    monkeypatch.chdir(tmp_path / INJECTS)
    with pytest.raises(LaunchError, match="cannot name a path"):
        driver_script(tmp_path / "sweeps" / "s", tmp_path, PROFILE, 1.0)


def test_no_array_is_submitted_from_such_a_path(tmp_path: Path) -> None:
    logs = str(Array("a", tmp_path / "of-%x").logs)
    order = {
        "function": "a:b",
        "words": [],
        "logs": logs,
        "parameters": {},
        "count": 1,
        "permit": PACKAGE_ALONE.to_json(),
    }
    command = [sys.executable, "-m", "vprdist.launch.array"]
    done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no pattern that SLURM fills in" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("cluster=example-gpu", "--runs", INJECTS), ("--runs", "job-%j")])
@pytest.mark.parametrize("command", ["sweep", "plan"])
def test_a_sweep_into_such_a_folder_is_refused_before_anything_is_made(
    command: str,
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command, str(SWEEP), *words]) == 2
    assert "Choose a folder without it in its path" in " ".join(capfd.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
