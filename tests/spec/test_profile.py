"""Profiles: strict, plain words, and shell in the set-up lines alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from vprdist.errors import SweepFileError
from vprdist.launch.params import job_environment, submission_parameters
from vprdist.launch.slurm import job_script
from vprdist.spec.profile import ClusterProfile, read_profile

NASTY = ("gpu; rm -rf ~", "$(id)", "`id`", "a b", "a\nb", "a'b", 'a"b', "a>b", "a\\b", "~")
STRINGS = ("partition", "account", "qos", "constraint", "reservation", "mail_user", "scratch")
LISTS = ("exclude", "shared", "srun_args")


@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize("field", [*STRINGS, *LISTS, "driver.partition"])
def test_shell_is_refused_everywhere_but_in_setup(tmp_path: Path, field: str, value: str) -> None:
    path = tmp_path / "site.yaml"
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    written = f"[{quoted}]" if field in LISTS else quoted
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
        requeue=False,
    )  # fmt: skip
    lines = job_script(submission_parameters(profile, "abc", "tok"), Path("/runs/log")).splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    assert "#SBATCH --partition=gpu,long" in options
    assert "#SBATCH --constraint='(a100|h100)&ib'" in options
    assert "#SBATCH --exclude='gpu[01-04],gpu9'" in options
    assert "#SBATCH --mail-type=END,FAIL" in options
    assert "#SBATCH --mem=3584MB" in options
    assert "#SBATCH --no-requeue" in options
    assert "module load cuda; echo $HOME" in lines
    assert "--container-image=nvcr.io/x:24.1" in lines[-1]
    assert "--kill-on-bad-exit=1" in lines[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time_limit_min: 1\nsignal_lead_s: 60", "signal_lead_s"),
        ("mail_user: me", "mail needs both mail_user and mail_types"),
        ("ports: [3000, 2000]", "the first port must not be above the last"),
        ("ranks: 4\ngpus_per_node: 2", "every rank needs a GPU of its own"),
        ("partitions: gpu", "Did you mean 'partition'?"),
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
