"""Seeing and steering jobs of a real SLURM; the driver as a job of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from toy import behave
from toy_driver import start

from tests import warm
from tests.slurm.conftest import DevCluster
from tests.status.toys import list_sweep, toy_folders
from tests.waiting import until
from vprdist.cli import main
from vprdist.files import read_json_lines


def facts(runs: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    assert main(["status", "s", "--json", "--runs", str(runs)]) == 0
    return {each["name"]: each for each in json.loads(capsys.readouterr().out)["trials"]}


def test_waiting_jobs_say_why_and_cancelled_ones_leave_the_queue(
    slurm_cluster: DevCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_sweep(tmp_path, "s", range(6))
    behave(tmp_path, steps=1, hold=True)
    # Three nodes, each filled by one job: two of five wait in the queue, and one is not submitted at all.
    driver = start("dispatch", tmp_path, 6, slurm_cluster.profile(cpus_per_task=16, max_concurrent=5))
    folders = toy_folders(tmp_path, 6)
    until(lambda: sum(folder.is_running for folder in folders) == 3)

    def queued() -> list[str]:
        return [str(each["why"]) for each in facts(tmp_path, capsys).values() if each["state"] == "queued"]

    # The scheduler comes to a job within a second, and SLURM knows no reason before.
    until(lambda: len(why := queued()) == 2 and "about to start" not in why)
    seen = facts(tmp_path, capsys)
    states = sorted(str(each["state"]) for each in seen.values())
    assert states == ["queued", "queued", "running", "running", "running", "waiting"]
    reasons = {str(each["why"]) for each in seen.values() if each["state"] == "queued"}
    assert reasons <= {"waiting for free nodes", "other jobs come first"}, reasons
    assert {str(each["node"]) for each in seen.values() if each["state"] == "running"} == {"gpu01", "gpu02", "gpu03"}

    assert main(["cancel", "s", "--yes", "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.count(": cancelled") == 5
    assert text.count("had no job") == 1
    assert not slurm_cluster.run("squeue", "--noheader", "--states=PD,R").strip()
    driver.communicate(timeout=60)
    assert not slurm_cluster.run("squeue", "--noheader", "--states=PD,R,CG").strip(), "the driver submitted nothing"
    assert {each["state"] for each in facts(tmp_path, capsys).values()} == {"cancelled"}


def test_a_silent_slurm_shows_what_is_known_and_ends_nothing_until_asked_again(
    slurm_cluster: DevCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    list_sweep(tmp_path, "s", range(2))
    behave(tmp_path, steps=1, hold=True)
    driver = start("dispatch", tmp_path, 2, slurm_cluster.profile(max_concurrent=2))
    # A job runs a moment before its helper is done submitting it.
    until(lambda: all(folder.is_running and not folder.is_submitting for folder in toy_folders(tmp_path, 2)))
    (tmp_path / "FakeSqueue").mkdir()
    fake = tmp_path / "FakeSqueue" / "squeue"
    fake.write_text("#!/bin/sh\necho slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1\n")
    fake.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
        assert main(["status", "s", "--runs", str(tmp_path)]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert "SLURM does not answer: jobs are shown as they were last known" in text
        assert "2 running" in text
        patch.setattr("vprdist.launch.cancel.PATIENCE_S", 1.0)
        assert main(["cancel", "s", "--yes", "--runs", str(tmp_path)]) == 1
        assert capsys.readouterr().out.count("is still there; the same command again ends it") == 2
    assert main(["cancel", "s", "--yes", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("was cancelled before") == 2
    assert not slurm_cluster.run("squeue", "--noheader", "--states=PD,R").strip()
    driver.communicate(timeout=60)


def test_cancel_reaches_into_no_other_run_folder_and_scancel_is_a_persons_word(
    slurm_cluster: DevCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same trials run in two folders, so that all of their jobs have the same names."""
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    drivers = []
    for runs in (mine, theirs):
        list_sweep(runs, "s", range(2))
        behave(runs, steps=1, hold=True)
        drivers.append(start("dispatch", runs, 2, slurm_cluster.profile(max_concurrent=2, max_attempts=1)))
    until(lambda: all(folder.is_running for runs in (mine, theirs) for folder in toy_folders(runs, 2)))
    assert main(["cancel", "s", "--yes", "--runs", str(mine)]) == 0
    assert capsys.readouterr().out.count(": cancelled") == 2
    assert not any(folder.is_running for folder in toy_folders(mine, 2))
    first, second = toy_folders(theirs, 2)
    assert first.is_running and second.is_running
    record = first.job()
    assert record is not None and record.job_id is not None
    slurm_cluster.run("scancel", record.job_id)
    until(lambda: first.failure() is not None)
    failure = first.failure()
    assert failure is not None and failure.kind == "cancelled"
    assert "SLURM says CANCELLED by " in failure.reason
    assert len(list(first.log.glob("attempt-*"))) == 1, "nothing is submitted against a person's will"
    (theirs / "go").touch()
    for driver in drivers:
        driver.communicate(timeout=120)
    assert second.result().starts == 1
    assert not (theirs / "nodes.jsonl").exists()


def test_logs_are_followed_across_a_requeue(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    list_sweep(tmp_path, "s", range(1))
    behave(tmp_path, steps=30, dt=0.3)
    driver = start("dispatch", tmp_path, 1, slurm_cluster.profile())
    (folder,) = toy_folders(tmp_path, 1)
    until(lambda: len(folder.rows()[0]) > 3)
    words = [sys.executable, "-m", "vprdist", "logs", "s/toy 0", "-f", "--runs", str(tmp_path)]
    follower = warm.Popen(words, stdout=subprocess.PIPE, text=True)
    slurm_cluster.occupy(folder.starts()[0]["host"], 1)
    driver.communicate(timeout=120)
    text = follower.communicate(timeout=30)[0]
    assert folder.result().starts == 2
    assert text.count("USR2: the cluster wants this node back") == 1, text
    assert text.count("Job completed successfully") == 1, text
    assert text.index("USR2") < text.index("Job completed")


SWEEP = """
trial:
  data: {{root: {root}, train: [ada], validate: [bob]}}
  network: {{backbone: resnet18, weights: none}}
  train: {{image_size: [32, 40], steps: 20, batch_pairs: 4, micro_pairs: 4}}
search: {{grid: {{network.unfreeze: [0-2, 2-2]}}}}
cluster: {profile}
"""


@pytest.mark.slow
def test_a_detached_driver_requeues_itself_and_finishes_the_sweep(
    slurm_cluster: DevCluster, small_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, profile = tmp_path / "runs", tmp_path / "here.yaml"
    wanted = slurm_cluster.profile(memory_gb=3, max_concurrent=1)
    profile.write_text(yaml.safe_dump({**wanted.model_dump(mode="json", exclude_defaults=True), "kind": "slurm"}))
    (tmp_path / "mine.yaml").write_text(SWEEP.format(root=small_tree, profile=profile))
    words = ["sweep", str(tmp_path / "mine.yaml"), "--detach", "--runs", str(runs)]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "was submitted" in text
    assert "vprdist status mine" in text
    assert main(words) == 0
    assert "is there already" in capsys.readouterr().out
    job = json.loads((runs / "sweeps" / "mine" / "driver" / "job.json").read_text())["job_id"]
    log = runs / "sweeps" / "mine" / "driver" / "driver.log"
    starts = lambda: list(runs.glob("trials/*/log/starts.jsonl"))  # noqa: E731

    until(starts, 180)
    slurm_cluster.run("scancel", "--signal=USR2", "--batch", job)  # as before the time limit
    until(lambda: (runs / "sweeps" / "mine" / "leaderboard.csv").exists(), 300)
    until(lambda: not slurm_cluster.run("squeue", "--noheader", f"--job={job}", "--states=PD,R,CG").strip())
    told = log.read_text()
    assert "The driver goes back into the queue." in told
    assert "mine (2 of 2 trials)" in told
    assert len(starts()) == 2
    assert [len(read_json_lines(path)[0]) for path in starts()] == [1, 1], "no trial was started twice"
    submitted = slurm_cluster.run("squeue", "--noheader", "--states=all", "--format=%i %j").split("\n")
    trials = {path.parents[1].name for path in starts()}
    mine = [row for row in submitted if any(row.endswith(f"vprdist-{trial}") for trial in trials)]
    assert len(mine) == 2, "nor submitted twice"
