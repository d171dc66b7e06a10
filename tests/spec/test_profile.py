"""Profiles: strict, plain words, and shell in the set-up lines alone."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from vprdist.errors import SweepFileError
from vprdist.launch.array import one_task
from vprdist.launch.driver_job import driver_script
from vprdist.launch.params import job_environment, submission_parameters
from vprdist.launch.slurm import job_script
from vprdist.spec.profile import ClusterProfile, DriverJob, read_profile

NASTY = ("gpu; rm -rf ~", "$(id)", "`id`", "a b", "a\nb", "a'b", 'a"b', "a>b", "a\\b", "~")
STRINGS = (
    "partition", "account", "qos", "constraint", "reservation", "mail_user", "scratch", "gres", "gpu_type", "licenses",
    "dependency", "wckey", "cluster_name", "python",
)  # fmt: skip
LISTS = ("exclude", "shared", "srun_args", "nodelist", "hosts", "python")


@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize("field", [*STRINGS, *LISTS, "driver.partition"])
def test_shell_is_refused_everywhere_but_in_setup(tmp_path: Path, field: str, value: str) -> None:
    path = tmp_path / "site.yaml"
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    written = f"[{quoted}]" if field in LISTS and field not in STRINGS else quoted
    body = f"driver:\n  partition: {written}" if field == "driver.partition" else f"{field}: {written}"
    path.write_text(
        f"kind: slurm\nmail_types: [FAIL]\nmail_user: me\n{body}\n".replace("mail_user: me\nmail_user", "mail_user")
    )
    with pytest.raises(SweepFileError) as caught:
        read_profile(str(path))
    assert "plain word" in str(caught.value)
    assert "site.yaml:" in str(caught.value)


def test_every_value_of_a_full_profile_reaches_the_script_as_one_word() -> None:
    profile = ClusterProfile(
        kind="slurm", partition="gpu,long", account="vpr", qos="normal", constraint="(a100|h100)&ib",
        exclude=("gpu[01-04]", "gpu9"), reservation="maint", mail_user="me@here.org", mail_types=("END", "FAIL"),
        srun_args=("--container-image=nvcr.io/x:24.1",), setup=("module load cuda; echo $HOME",), memory_gb=3.5,
        requeue=False, ranks=4, gpus_per_node=4, gpu_type="a100", cpus_per_gpu=8, nodelist=("gpu[05-08]",),
        exclusive="user", licenses="ansys:2", nice=100, hint="nomultithread", dependency="afterok:12?singleton",
        wckey="vpr", clusters="big", comment_prefix="project=abc, ", job_name_prefix="lab1-",
        python="/opt/py/bin/python", sbatch_args=("--switches=1@10:00", "-O", "--bb=a b"),
        teardown=("rm -rf /local/$SLURM_JOB_ID",),
    )  # fmt: skip
    lines = job_script(submission_parameters(profile, "abc", "tok"), Path("/runs/log")).splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    assert "#SBATCH --partition=gpu,long" in options
    assert "#SBATCH --constraint='(a100|h100)&ib'" in options
    assert "#SBATCH --exclude='gpu[01-04],gpu9'" in options
    assert "#SBATCH --mail-type=END,FAIL" in options
    assert "#SBATCH --mem=3584MB" in options
    for line in (
        "--no-requeue", "--job-name=lab1-vprdist-abc", "--comment='project=abc, tok'", "--gpus-per-node=a100:4",
        "--cpus-per-gpu=8", "--nodelist='gpu[05-08]'", "--exclusive=user", "--licenses=ansys:2", "--nice=100",
        "--hint=nomultithread", "--dependency='afterok:12?singleton'", "--wckey=vpr", "--clusters=big",
        "--switches=1@10:00", "--overcommit", "--bb='a b'",
    ):  # fmt: skip
        assert f"#SBATCH {line}" in options
    assert not any("=None" in line for line in options)
    assert "module load cuda; echo $HOME" in lines
    (command,) = (line for line in lines if line.startswith("srun "))
    assert "--container-image=nvcr.io/x:24.1 /opt/py/bin/python -u -P -m " in command
    assert "--kill-on-bad-exit=1 --cpus-per-task=8 " in command, "srun does not inherit the CPUs of a rank everywhere"
    assert lines[-3:] == ["vprdist_ended=$?", "rm -rf /local/$SLURM_JOB_ID", "exit $vprdist_ended"]


@pytest.mark.parametrize("code", [0, 9])
def test_what_follows_the_ranks_does_not_change_how_the_job_ended(tmp_path: Path, code: int) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexit {code}\n")
    python.chmod(0o755)
    profile = ClusterProfile(kind="slurm", python=str(python), teardown=("! true", f"touch {tmp_path}/after"))
    script = job_script(submission_parameters(profile, "abc", "tok"), tmp_path).splitlines()
    (command,) = (place for place, line in enumerate(script) if line.startswith("srun "))
    script[command] = script[command][script[command].index(str(python)) :]  # there is no SLURM here
    assert subprocess.run(["bash", "-c", "\n".join(script)], check=False).returncode == code
    assert (tmp_path / "after").exists()


def test_a_profile_that_says_nothing_asks_for_nothing() -> None:
    script = job_script(submission_parameters(ClusterProfile(kind="slurm"), "abc", "tok"), Path("/runs/log"))
    asked = {line.split("=")[0].removeprefix("#SBATCH --") for line in script.splitlines() if line[:7] == "#SBATCH"}
    assert asked == {
        "comment", "job-name", "nodes", "ntasks-per-node", "open-mode", "output", "requeue", "signal", "time",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "lines", "told"),
    [
        ({"memory_gb": 0}, ["--mem=0"], []),
        ({"mem_per_cpu": "4G", "cpus_per_task": 6}, ["--mem-per-cpu=4G", "--cpus-per-task=6"], ["--cpus-per-task=6"]),
        ({"gpus_per_task": 2, "gpu_type": "h100", "ranks": 2}, ["--gpus-per-task=h100:2"], []),
        ({"gres": "gpu:a100:2,nvme:1", "mem_per_gpu": "60G"}, ["--gres=gpu:a100:2,nvme:1", "--mem-per-gpu=60G"], []),
        ({"gres": "gpu:4", "ranks": 2, "cpus_per_gpu": 3}, ["--cpus-per-gpu=3"], ["--cpus-per-task=6"]),
        ({"exclusive": True}, ["--exclusive"], []),
        ({"clusters": "big", "nice": 0}, ["--clusters=big", "--nice=0"], []),
    ],
)
def test_keys_that_stand_for_others_reach_sbatch_and_srun(
    values: dict[str, Any], lines: list[str], told: list[str]
) -> None:
    parameters = submission_parameters(ClusterProfile(kind="slurm", **values), "abc", "tok")
    script = job_script(parameters, Path("/runs/log")).splitlines()
    assert {f"#SBATCH {line}" for line in lines} <= set(script)
    words = script[-1].split()
    assert [word for word in words[: words.index("-u")] if word.startswith("--cpus")] == told


def test_without_srun_the_rank_takes_the_shells_place_and_hears_the_warning() -> None:
    profile = ClusterProfile(
        kind="slurm", use_srun=False, signal_lead_s=90, python=("apptainer", "exec", "/i.sif", "py")
    )
    script = job_script(submission_parameters(profile, "abc", "tok"), Path("/runs/log")).splitlines()
    assert "#SBATCH --signal=B:USR2@90" in script
    assert script[-1].startswith("exec apptainer exec /i.sif py -u -P -m ")
    assert not any("srun " in line for line in script)


def test_a_detached_driver_hears_what_the_site_wants_of_every_job(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "account": "vpr", "qos": "long", "wckey": "w", "nice": 5, "clusters": "big", "comment_prefix": "p=1 ",
        "job_name_prefix": "lab-", "python": "/opt/py", "sbatch_args": ("--switches=1",), "setup": ("module load x",),
    }  # fmt: skip
    of_trials: dict[str, Any] = {
        "gpus_per_node": 4, "gpu_type": "a100", "licenses": "l", "exclusive": True, "nodelist": ("n",),
        "cpus_per_gpu": 2, "hint": "multithread", "dependency": "afterok:1", "teardown": ("date",), "ranks": 2,
    }  # fmt: skip
    sweep = tmp_path / "sweeps" / "s"
    lines = driver_script(sweep, tmp_path, ClusterProfile(kind="slurm", **given, **of_trials), 2).splitlines()
    for line in ("account=vpr", "qos=long", "wckey=w", "nice=5", "clusters=big", "switches=1"):
        assert f"#SBATCH --{line}" in lines
    assert "#SBATCH --job-name=lab-vprdist-driver-s" in lines and "module load x" in lines
    assert any(line.startswith("#SBATCH --comment='p=1 ") for line in lines)
    assert any(line.startswith("exec /opt/py -u -P -m vprdist.launch.enter ") for line in lines)
    text = "\n".join(lines)
    assert not any(word in text for word in ("gpu", "licenses", "exclusive", "nodelist", "hint", "depend"))
    own = ClusterProfile(kind="slurm", sbatch_args=("--switches=1",), driver=DriverJob(sbatch_args=("--hold",)))
    lines = driver_script(sweep, tmp_path, own, 2).splitlines()
    assert "#SBATCH --hold" in lines and "#SBATCH --switches=1" not in lines
    assert not any("wckey" in line for line in lines)


def test_one_task_of_an_array_asks_for_one_gpu_however_the_profile_counts_them() -> None:
    for values, line in (
        ({"gpus_per_node": 4, "gpu_type": "a100"}, "--gpus-per-node=a100:1"),
        ({"gpus_per_task": 1, "ranks": 4, "nodelist": ("n[1-2]",), "nodes": 2}, "--gpus-per-task=1"),
        ({"gres": "nvme:2,gpu:a100:4", "cpus_per_gpu": 3}, "--gres=nvme:2,gpu:a100:1"),
    ):
        profile = one_task(ClusterProfile(kind="slurm", memory_gb=0, **values))  # type: ignore[arg-type]
        lines = job_script(submission_parameters(profile, "abc", "tok"), Path("/runs/log")).splitlines()
        assert f"#SBATCH {line}" in lines and "#SBATCH --nodes=1" in lines
        assert profile.num_node_gpus == 1 and not any("nodelist" in line or "--mem=" in line for line in lines)


def test_one_task_of_several_on_a_node_takes_no_whole_node() -> None:
    whole = ClusterProfile(kind="slurm", ranks=4, gpus_per_node=4, memory_gb=0, exclusive=True)
    task = one_task(whole)
    assert (task.memory_gb, task.exclusive, task.gpus_per_node) == (None, False, 1)
    assert one_task(whole.model_copy(update={"exclusive": "user", "memory_gb": 64})).exclusive == "user"
    assert one_task(whole.model_copy(update={"memory_gb": 64.0})).memory_gb == 16
    assert one_task(ClusterProfile(kind="slurm", memory_gb=0)).memory_gb == 0, "a trial is one such process too"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time_limit_min: 1\nsignal_lead_s: 60", "signal_lead_s"),
        ("mail_user: me", "mail needs both mail_user and mail_types"),
        ("ports: [3000, 2000]", "the first port must not be above the last"),
        ("ranks: 4\ngpus_per_node: 2", "every rank needs a GPU of its own"),
        ("partitions: gpu", "Did you mean 'partition'?"),
        ("memory_gb: 4\nmem_per_cpu: 4G", "sbatch does not take both memory_gb and mem_per_cpu"),
        ("mem_per_cpu: 4G\nmem_per_gpu: 4G\ngpus_per_node: 1", "sbatch does not take both mem_per_cpu and mem_per_gpu"),
        ("mem_per_cpu: four", "mem_per_cpu"),
        ("mem_per_cpu: 4000", "mem_per_cpu"),
        ("mem_per_gpu: 4G", "mem_per_gpu: the profile asks for no GPU"),
        ("cpus_per_gpu: 4", "cpus_per_gpu: the profile asks for no GPU"),
        (
            "cpus_per_gpu: 4\ncpus_per_task: 4\ngpus_per_node: 1",
            "sbatch does not take both cpus_per_gpu and cpus_per_task",
        ),
        ("gpus_per_task: 1\ngpus_per_node: 4\nranks: 2", "it must be 2 rank(s) of 1 GPU(s) each"),
        ("gpus_per_node: 4\ngres: gpu:4", "it must not stand beside GPUs in `gres`, 4 a node; found 4"),
        ("gres: gpu:a100:2\nranks: 4", "gres: every rank needs a GPU of its own"),
        ("gpu_type: a100", "gpu_type: no key beside it says how many GPUs there are"),
        ("gres: gpu:1\ngpu_type: a100", "Write it into `gres`: gpu:TYPE:COUNT."),
        ("use_srun: false\nranks: 2", "without srun nobody starts more than one rank"),
        ("use_srun: false\nteardown: [date]", "teardown: it does nothing with `use_srun: false`"),
        ("side_by_side: 2", "side_by_side: it must not be more than a job has trials, 1 (`trials_per_job`)"),
        ("trials_per_job: 4\nranks: 2", "a job of several trials has one rank, not 1 node(s) of 2: 4"),
        ("trials_per_job: 2\nnodes: 2", "a job of several trials has one rank, not 2 node(s) of 1: 2"),
        ("clusters: a,b", "this must be the name of one cluster"),
        ("job_name_prefix: a b", "job_name_prefix"),
        ("job_name_prefix: a|b", "job_name_prefix"),
        ('comment_prefix: "a\\nb"', "this must be one line"),
        ("comment_prefix: a|b", "this must be one line"),
        ("exclusive: topo", "exclusive"),
        ("hint: fast", "hint"),
        ('setup: ["#SBATCH --wckey=a"]', "set the profile's `wckey`"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "site.yaml").write_text(f"kind: slurm\n{text}\n")
    with pytest.raises(SweepFileError) as caught:
        read_profile(str(tmp_path / "site.yaml"))
    assert words in str(caught.value)


def test_a_driver_that_is_a_job_hands_none_of_its_own_job_down() -> None:
    environ = {"SLURM_JOB_ID": "7", "SLURM_CONF": "/etc/c", "SBATCH_ACCOUNT": "x", "RAY_A": "1", "HOME": "/h"}
    assert job_environment(environ, None) == {"SLURM_CONF": "/etc/c", "HOME": "/h"}


@pytest.mark.parametrize("path", sorted(Path("slurm/profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_profiles_that_come_with_vprdist_are_read(path: Path) -> None:
    assert read_profile(path.stem).kind == ("local" if path.stem == "local" else "slurm")


def test_a_shared_queue_is_asked_seldom_unless_the_profile_says_otherwise():
    assert ClusterProfile(kind="slurm").poll_s == 30
    assert ClusterProfile(kind="slurm", poll_s=2).poll_s == 2
    assert ClusterProfile(kind="local").poll_s == 1
