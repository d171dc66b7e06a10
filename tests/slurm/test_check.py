"""What is refused before anything is submitted, on a real SLURM; and that the printed script is the submitted one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from toy import JOB, behave, toy_trials

from tests.slurm.conftest import DevCluster
from tests.waiting import until
from vprdist.errors import LaunchError
from vprdist.launch import check
from vprdist.launch.check import check_cluster
from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.permit import Permit
from vprdist.launch.slurm import job_script
from vprdist.store.trial_folder import TrialFolder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"partition": "lowe"}, "partition: the cluster has no such partition: 'lowe'. Did you mean 'low'?"),
        ({"gpus_per_node": 5}, "gpus_per_node: must be at most 4 GPUs a node in partition low; found 5"),
        (
            {"cpus_per_task": 9, "ranks": 2},
            "cpus_per_task: must be at most 16 CPUs a node in partition low; found 18. "
            "That is 9 for each of 2 ranks. Ask for less",
        ),
        ({"memory_gb": 64}, "memory_gb: must be at most 31.2 GB a node in partition low; found 64. Ask"),
        (
            {"cpus_per_task": 17, "memory_gb": 64},
            "found 17. Ask for less, or choose another partition.\n"
            "And profile: memory_gb: must be at most 31.2 GB a node in partition low; found 64",
        ),
        ({"nodes": 4}, "nodes: must be at most 3 nodes a job in partition low; found 4"),
        ({"constraint": "h100"}, "constraint: no node of partition low has this feature: 'h100'. Leave it out"),
        (
            {"exclude": ("gpu17",)},
            "profile: exclude: the cluster refuses a job with this: 'gpu17'. sbatch --test-only: ",
        ),
        ({"nodelist": ("gpu17",)}, "profile: nodelist: the cluster refuses a job with this: 'gpu17'. sbatch "),
        ({"exclude": ("gpu[01-03]",)}, "Requested node configuration is not available"),
        ({"shared": ("/scratch",)}, "it must lie in one of the profile's shared folders, /scratch; found '"),
    ],
)
def test_what_the_cluster_cannot_do_is_one_message(
    slurm_cluster: DevCluster, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(LaunchError) as caught:
        check_cluster(slurm_cluster.profile(**changes), [tmp_path])
    assert words in str(caught.value)
    assert not slurm_cluster.run("squeue", "--noheader")


def test_accounts_are_known_where_there_is_accounting(slurm_accounting: DevCluster, tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"account: user root may not use this account: 'vrp'. Did you mean 'vpr'"):
        check_cluster(slurm_accounting.profile(account="vrp"), [tmp_path])
    notes = check_cluster(slurm_accounting.profile(account="vpr"), [tmp_path])
    assert any("to start at" in note for note in notes), notes


def test_a_good_profile_passes_and_what_was_not_checked_is_said(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    notes = check_cluster(slurm_cluster.profile(gpus_per_node=4), [tmp_path])
    assert any("does not say what is `shared`" in note for note in notes)
    assert any("sbatch --test-only" in note and "to start at" in note for note in notes)
    assert len(check_cluster(slurm_cluster.profile(gpus_per_node=4, shared=("/",)), [tmp_path])) == len(notes) - 1
    assert not slurm_cluster.run("squeue", "--noheader")


def test_commands_that_are_missing_hang_or_fail(
    slurm_cluster: DevCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = tmp_path / "FakeSinfo"
    fakes.mkdir()
    real = os.environ["PATH"]
    for script, answer_s, words in (
        ("sleep 30", 0.5, "sinfo: no answer within 0.5 s. "),
        ("echo Unable to contact slurm controller >&2; exit 1", 30, "it failed: 'Unable to contact slurm controller'"),
    ):
        (fakes / "sinfo").write_text(f"#!/bin/sh\n{script}\n")
        (fakes / "sinfo").chmod(0o755)
        monkeypatch.setenv("PATH", f"{fakes}:{real}")
        monkeypatch.setattr(check, "ANSWER_S", answer_s)
        with pytest.raises(LaunchError) as caught:
            check_cluster(slurm_cluster.profile(), [tmp_path])
        assert words in str(caught.value)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchError, match="SLURM's commands are missing: sbatch, s"):
        check_cluster(slurm_cluster.profile(), [tmp_path])
    monkeypatch.setenv("PATH", real)


def test_the_planned_script_is_the_submitted_one(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=1, dt=0.1)
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    profile = slurm_cluster.profile(
        setup=("export GREETING='hello; world'",), constraint=None, mail_user="me@here.org", mail_types=("FAIL",)
    )
    with Dispatcher(profile, tmp_path, JOB) as dispatcher:
        dispatcher.want(trial)
        until(lambda: folder.has_result)
    record = folder.job()
    assert record is not None
    script = tmp_path / "script"
    slurm_cluster.run("scontrol", "write", "batch_script", str(record.job_id), str(script))
    permit = Permit.calling(JOB, profile.trust)
    assert script.read_text() == job_script(record.parameters, folder.attempt_log(record), permit)
    assert "--mail-user=me@here.org" in script.read_text()
