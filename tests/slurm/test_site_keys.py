"""What sites need, on a real SLURM: every key of a profile that it knows is taken, and jobs get what was asked for."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from toy import JOB, behave, toy_trials

from tests.slurm.conftest import DevCluster
from tests.waiting import until
from vprdist.cli import main
from vprdist.errors import LaunchError
from vprdist.files import read_json_lines
from vprdist.launch.check import ask_only, check_cluster
from vprdist.launch.dispatcher import Dispatcher
from vprdist.spec.profile import ClusterProfile
from vprdist.store.trial_folder import TrialFolder

EVERY: dict[str, Any] = {
    "cpus_per_task": None, "memory_gb": None, "mem_per_gpu": "1G", "cpus_per_gpu": 3, "gpus_per_node": 2, "ranks": 2,
    "nodelist": ("gpu02",), "exclusive": "user", "nice": 10, "hint": "nomultithread", "dependency": "singleton",
    "wckey": "vpr", "comment_prefix": "project=a b, ", "job_name_prefix": "lab1-", "python": sys.executable,
    "sbatch_args": ("--switches=1@01:00", "-O", "--gres-flags=enforce-binding", "--time-min=10"),
}  # fmt: skip
"""Keys that can stand together, and that a cluster without licences, GPU types and a second cluster knows."""


def shown(cluster: DevCluster, *what: str) -> dict[str, str]:
    """scontrol's facts; a value may have spaces in it."""
    text = cluster.run("scontrol", "--oneliner", "show", *what)
    found = re.findall(r"([A-Za-z:]+)=(.*?)(?= [A-Za-z:]+=|$)", text.strip())
    return {key: value.strip() for key, value in found}


@pytest.mark.parametrize(
    "changes",
    [
        EVERY,
        {**EVERY, "exclusive": True, "use_srun": False, "ranks": 1, "mem_per_gpu": None, "memory_gb": 0},
        {"mem_per_cpu": "500M", "memory_gb": None, "gpus_per_task": 1, "ranks": 2, "exclusive": "mcs"},
        {"gres": "gpu:2", "cpus_per_task": None, "cpus_per_gpu": 2, "ranks": 2},
    ],
    ids=["many", "without srun", "by task", "gres"],
)
def test_what_every_key_asks_for_is_taken(slurm_cluster: DevCluster, changes: dict[str, Any]) -> None:
    assert " to start at " in ask_only(slurm_cluster.profile(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"licenses": "nosuch:1"}, "Invalid license specification"),
        ({"gres": "nosuch:1"}, "Invalid generic resource"),
        ({"nodelist": ("gpu77",)}, "Invalid node name specified"),
        ({"dependency": "later:7"}, "Job dependency problem"),
        ({"sbatch_args": ("--nosuch=1",)}, "unrecognized option '--nosuch=1'"),
        ({"sbatch_args": ("--gres-flags=nosuch",)}, "Invalid --gres-flags specification"),
    ],
)
def test_what_the_site_does_not_know_is_refused_before_anything_is_submitted(
    slurm_cluster: DevCluster, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(LaunchError, match=r"the cluster refuses (such )?a job") as caught:
        check_cluster(slurm_cluster.profile(**changes), [tmp_path])
    assert words in str(caught.value)


def test_gpus_in_gres_and_cpus_a_gpu_are_counted_like_the_others(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    for changes, words in (
        ({"gres": "gpu:5"}, "gres: must be at most 4 GPUs a node in partition low; found 5"),
        ({"gpus_per_task": 3, "ranks": 2}, "gpus_per_task: must be at most 4 GPUs a node in partition low; found 6"),
        ({"cpus_per_gpu": 9, "cpus_per_task": None, "gpus_per_node": 2}, "cpus_per_gpu: must be at most 16 CPUs"),
    ):
        with pytest.raises(LaunchError) as caught:
            check_cluster(slurm_cluster.profile(**changes), [tmp_path])
        assert words in str(caught.value)


def test_the_profile_is_chosen_and_checked_by_itself(
    slurm_cluster: DevCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--check", "cluster=auto", "--runs", str(tmp_path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "cluster: auto is devcluster here (host " in said and ", cluster devcluster)" in said
    assert "partition low: 3 node(s) of 16 CPUs, 31.2 GB, 4 GPU(s); no time limit" in said
    assert said.count(" to start at ") == 2, "a job, and the driver's"
    assert not list(tmp_path.iterdir()) and not slurm_cluster.run("squeue", "--noheader")


def run_held(cluster: DevCluster, runs: Path, profile: ClusterProfile, look: Any) -> TrialFolder:
    """A toy job that waits until `look` has seen it run, and then ends well."""
    behave(runs, steps=1, dt=0.01, hold=True)
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(runs, trial.trial_id)
    with Dispatcher(profile, runs, JOB) as dispatcher:
        dispatcher.want(trial)
        until(lambda: dispatcher.check() is None and folder.metrics_file.exists())
        record = folder.job()
        assert record is not None and record.job_id is not None
        look(record.job_id, dispatcher)
        (runs / "go").touch()
        until(lambda: dispatcher.check() is None and folder.is_over)
    assert folder.has_result, folder.failure()
    return folder


@pytest.mark.parametrize(
    ("changes", "cpus"),
    [
        ({"cpus_per_task": 3, "gpus_per_node": 2}, 3),
        ({"cpus_per_task": None, "cpus_per_gpu": 4, "gpus_per_node": 2}, 4),
        ({"cpus_per_task": None, "cpus_per_gpu": 2, "gpus_per_task": 2}, 4),
    ],
    ids=["by task", "by GPU of a node", "by GPU of a task"],
)
def test_every_rank_has_its_cpus(slurm_cluster: DevCluster, tmp_path: Path, changes: dict[str, Any], cpus: int) -> None:
    """SLURM 22.05 to 23.02 give a rank one CPU where srun is not told."""

    def look(job_id: str, dispatcher: Dispatcher) -> None:
        step = shown(slurm_cluster, "step", f"{job_id}.0")
        (file,) = tmp_path.glob("trials/*/metrics.jsonl")
        until(lambda: len(read_json_lines(file.with_name("ranks.jsonl"))[0]) == 2)
        assert f"cpu:{cpus}" in step["TresPerTask"].split(",") and step["TresPerStep"] == f"cpu:{2 * cpus}"

    folder = run_held(slurm_cluster, tmp_path, slurm_cluster.profile(ranks=2, **changes), look)
    assert folder.result().environment["num_threads"] == cpus
    assert [row["cpus"] for row in read_json_lines(folder.path / "ranks.jsonl")[0]] == [str(cpus)] * 2


def test_a_job_has_what_the_profile_asked_for_and_is_known_again(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    python = ("/usr/bin/env", "STARTED_BY=us", sys.executable)
    profile = slurm_cluster.profile(
        **{**EVERY, "python": python, "teardown": (f"echo $vprdist_ended > {tmp_path}/after",)}
    )

    def look(job_id: str, dispatcher: Dispatcher) -> None:
        job = shown(slurm_cluster, "job", job_id)
        (trial,) = toy_trials(1)
        folder = TrialFolder.of(tmp_path, trial.trial_id)
        record = folder.job()
        assert record is not None and job["JobName"] == record.name == f"lab1-vprdist-{trial.trial_id}"
        assert job["Comment"] == f"project=a b, {record.token}"
        assert job["NodeList"] == job["ReqNodeList"] == "gpu02" and job["OverSubscribe"] == "USER"
        assert job["MemPerTres"] == "gres:gpu:1024" and job["CpusPerTres"] == "gres:gpu:3"
        assert job["TresPerNode"] == "gres:gpu:2" and job["NumCPUs"] == "6"
        assert job["TimeMin"] == "00:10:00" and "Nice=10 " in slurm_cluster.run("scontrol", "show", "job", job_id)
        assert slurm_cluster.run("squeue", "--noheader", f"--jobs={job_id}", "--format=%w").strip() == "vpr"
        seen = dispatcher.cluster.look(folder, record, time.time())
        until(lambda: dispatcher.cluster.look(folder, record, time.time()).state == "alive")
        assert seen.state != "gone"

    folder = run_held(slurm_cluster, tmp_path, profile, look)
    assert read_json_lines(folder.path / "ranks.jsonl")[0][0]["started_by"] == "us"
    assert slurm_cluster.run("squeue", "--noheader", "--states=all", "--format=%j").count("lab1-vprdist-") == 1
    assert until(lambda: (tmp_path / "after").exists() and (tmp_path / "after").read_text()) == "0\n"


def test_without_srun_a_job_hears_the_warning_and_goes_back(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=1000, dt=0.2)
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    with Dispatcher(slurm_cluster.profile(use_srun=False), tmp_path, JOB) as dispatcher:
        dispatcher.want(trial)
        until(lambda: dispatcher.check() is None and folder.metrics_file.exists())
        record = folder.job()
        assert record is not None
        # What SLURM does before the time limit: the batch shell alone is asked.
        slurm_cluster.run("scancel", "--batch", "--signal=USR2", str(record.job_id))
        until(lambda: shown(slurm_cluster, "job", str(record.job_id))["Restarts"] == "1")
    assert folder.rows()[0][-1]["kind"] == "checkpoint"
