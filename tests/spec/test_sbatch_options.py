"""sbatch's own options in a profile: whole, one line each, and none that vprdist gives itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vprdist.errors import SweepFileError
from vprdist.spec.profile import ClusterProfile, read_profile
from vprdist.spec.sbatch_options import KEYS, OURS, SHORT, check_setup, option_of, options_of


@pytest.mark.parametrize(
    ("word", "option"),
    [
        ("--switches=1@10:00", ("switches", "1@10:00")),
        ("--hold", ("hold", True)),
        ("--bb=capacity=2G type=scratch", ("bb", "capacity=2G type=scratch")),
        ("--propagate=", ("propagate", "")),
        ("-m block", ("distribution", "block")),
        ("-mblock:cyclic", ("distribution", "block:cyclic")),
        ("-O", ("overcommit", True)),
        ("--time-min=10", ("time-min", "10")),
        ("--gres-flags=enforce-binding", ("gres-flags", "enforce-binding")),
    ],
)
def test_an_option_is_one_word(word: str, option: tuple[str, str | bool]) -> None:
    assert option_of(word) == option


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("--job-name=x", "set the profile's `job_name_prefix`"),
        ("-J x", "set the profile's `job_name_prefix`"),
        ("-Jx", "set the profile's `job_name_prefix`"),
        ("--job-n=x", "the option --job-name must be left"),
        ("--comment=x", "`comment_prefix`"),
        ("--mem=4G", "`memory_gb`"),
        ("-p gpu", "`partition`"),
        ("-G4", "`gpus_per_node`"),
        ("-W", "the option --wait cannot be given"),
        ("--wra=true", "the option --wrap cannot be given"),
        ("--export=NONE", "must have the environment"),
        ("-a 1-4", "the option --array cannot be given"),
        ("switches=1", "must be one word"),
        ("--switches 1", "must be one word"),
        ("-", "must be one word"),
        ("-Ox", "must be one word"),
        ("--network=a\n#SBATCH --mem=1", "must be one line"),
        ("--network='a'", "without quotes"),
        ("job.sbatch", "must be one word"),
        ("", "must be one word"),
    ],
)
def test_what_vprdist_gives_itself_is_refused_with_the_key_that_sets_it(tmp_path: Path, word: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        option_of(word)
    for section in ("", "driver:\n  "):
        quoted = '"' + word.replace("\n", "\\n") + '"'
        (tmp_path / "site.yaml").write_text(f"kind: slurm\n{section}sbatch_args: [{quoted}]\n")
        with pytest.raises(SweepFileError, match=re.escape(fault)) as caught:
            read_profile(str(tmp_path / "site.yaml"))
        assert "site.yaml:" in str(caught.value)


def test_every_key_that_is_named_exists_and_every_option_is_one_of_sbatch(tmp_path: Path) -> None:
    assert set(KEYS.values()) <= set(ClusterProfile.model_fields)
    if shutil.which("sbatch") is None:
        pytest.skip("no SLURM here")
    (tmp_path / "slurm.conf").write_text("ClusterName=none\nSlurmctldHost=localhost\n")
    environment = {**os.environ, "SLURM_CONF": str(tmp_path / "slurm.conf")}
    manual = subprocess.run(["sbatch", "--help"], capture_output=True, text=True, check=True, env=environment).stdout
    known = set(re.findall(r"--([a-z][a-z-]+)", manual))
    hidden = {"get-user-env", "hint", "nodefile", "ntasks-per-gpu", "open-mode", "test-only"}
    assert {*KEYS, *OURS, *SHORT.values()} - known <= hidden
    # What the manual has in the same words as we, of short and long.
    pairs = dict(re.findall(r"-([A-Za-z]), --([a-z][a-z-]+)", manual))
    assert {short: SHORT[short] for short in pairs} == pairs


def test_the_last_option_of_a_name_holds() -> None:
    assert options_of(("--switches=1", "-O", "--switches=2")) == {"switches": "2", "overcommit": True}


def test_sbatch_lines_of_set_up_follow_the_same_rules() -> None:
    check_setup(("#SBATCH --switches=1", "#SBATCH -m block  # spread", "module load cuda", "# SBATCH --mem=1"))
    for line in ("#SBATCH --job-name=x", "module load a\n#SBATCH -J x", "#SBATCH --switches 1 --wckey w"):
        with pytest.raises(ValueError, match="must be left to vprdist"):
            check_setup((line,))
