"""`vprdist plan --check`: a profile by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from vprdist.cli import main


@pytest.mark.parametrize("words", [["--check"], ["--check", "cluster=local"], ["cluster=local", "--check"]])
def test_a_profile_is_checked_without_a_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["plan", *words, "--runs", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr().out
    assert "profile local: slurm/profiles/local.yaml, kind local" in said and "job(s) at once" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--check", "cluster=nosuch"], "cluster: no such file of slurm/profiles: 'nosuch'"),
        (["--check", "cluster=local", "name=x"], "plan --check: this must be cluster=NAME; found 'name=x'"),
        ([], "plan: a sweep file must be named"),
        (["--check", "nosuch.yaml"], "nosuch.yaml"),
    ],
)
def test_what_cannot_be_checked_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], fault: str
) -> None:
    assert main(["plan", *words, "--runs", str(tmp_path)]) == 2
    assert fault in " ".join(capsys.readouterr().err.split())


def test_a_sweep_says_which_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(f"name: mine\ncluster: {tmp_path}/site.yaml\n")
    (tmp_path / "site.yaml").write_text("kind: local\nmax_concurrent: 3\n")
    assert main(["plan", str(tmp_path / "mine.yaml"), "--check", "--runs", str(tmp_path)]) == 0
    assert "bears 3 job(s) at once" in capsys.readouterr().out
