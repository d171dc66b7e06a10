"""`cluster: auto`: one profile that is meant for this place, or one message that shows which there are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vprdist.errors import LaunchError, SweepFileError
from vprdist.spec import profile as profiles
from vprdist.spec import profile_choice
from vprdist.spec.profile_choice import choose_profile, settle_cluster
from vprdist.spec.sweep_file import read_sweep


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of profiles on host login2 of a cluster that is called big."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    monkeypatch.setattr(profiles, "profile_folders", lambda: (folder,))
    monkeypatch.setattr(profile_choice, "host_names", lambda: ("login2", "login2.site.org"))
    monkeypatch.setattr(profile_choice, "slurm_cluster_name", lambda: "big")
    monkeypatch.setattr(profile_choice.shutil, "which", lambda command: "/usr/bin/sbatch")
    (folder / "local.yaml").write_text("kind: local\n")
    return folder


def write(folder: Path, **conditions: str) -> None:
    """Profiles by name, each with a line of its own."""
    for name, line in conditions.items():
        (folder / f"{name}.yaml").write_text(f"kind: slurm\n{line}\n")


@pytest.mark.parametrize(
    "fits", ["hosts: [login2]", "hosts: [other, 'login*.site.org']", "cluster_name: big",
             "hosts: ['login?']\ncluster_name: big"],
)  # fmt: skip
def test_the_one_that_fits_is_taken_and_said(place: Path, fits: str) -> None:
    write(place, here=fits, there="hosts: [login9]", elsewhere="cluster_name: small\nhosts: [login2]", plain="nodes: 1")
    name, why = choose_profile("cluster")
    assert name == "here" and why.startswith("cluster: auto is here here (host login2")


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({}, "no profile is meant for host login2: 'auto'. Name one (local), or give one `hosts` or `cluster_name`."),
        ({"a": "hosts: [x]", "b": "cluster_name: y"},
         "no profile is meant for host login2, cluster big: 'auto'. Name one (a, b, local), or give one `hosts` or "
         "`cluster_name`. These have some: a (hosts x); b (cluster_name y)."),
        ({"a": "hosts: [login2]", "b": "cluster_name: big"},
         "several profiles are meant for host login2, cluster big: 'a, b'. Name one, as in cluster=a,"),
    ],
)  # fmt: skip
def test_none_or_two_are_one_message_with_the_candidates(place: Path, conditions: dict[str, str], words: str) -> None:
    write(place, **conditions)
    with pytest.raises(LaunchError) as caught:
        choose_profile("mine.yaml:3: cluster")
    assert f"mine.yaml:3: cluster: {words}" in str(caught.value)


def test_without_slurm_it_is_this_machine(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place, there="hosts: [login9]")
    monkeypatch.setattr(profile_choice.shutil, "which", lambda command: None)
    name, why = choose_profile("cluster")
    assert name == "local" and "there is no SLURM" in why


def test_a_broken_profile_stops_nobody_who_has_one_that_fits(place: Path) -> None:
    write(place, broken="partitions: gpu", here="hosts: [login2]")
    name, why = choose_profile("cluster")
    taken, passed_over = why.splitlines()
    assert name == "here" and taken.startswith("cluster: auto is here here")
    assert passed_over.startswith(f"passed over: {place}/broken.yaml:2: partitions: ")


def test_without_slurm_a_broken_profile_is_passed_over_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place, broken="partitions: gpu")
    monkeypatch.setattr(profile_choice.shutil, "which", lambda command: None)
    name, why = choose_profile("cluster")
    assert name == "local" and why.splitlines()[1].startswith(f"passed over: {place}/broken.yaml:2: partitions: ")


def test_a_broken_profile_is_named_where_none_fits(place: Path) -> None:
    write(place, broken="partitions: gpu")
    with pytest.raises(SweepFileError, match=r"broken\.yaml:2: partitions"):
        choose_profile("cluster")


def test_a_profile_called_auto_is_that_profile(place: Path) -> None:
    write(place, auto="partition: gpu", here="cluster_name: big")
    assert choose_profile("cluster") == ("auto", "")


def test_the_sweep_keeps_the_name_for_a_driver_on_another_host(place: Path, tmp_path: Path) -> None:
    write(place, here="hosts: [login2]")
    (tmp_path / "mine.sweep.yaml").write_text(yaml.safe_dump({"name": "mine", "cluster": "auto"}))
    sweep = read_sweep(tmp_path / "mine.sweep.yaml")
    settled, why = settle_cluster(sweep)
    assert settled.cluster == "here" and why
    assert settled.trials == sweep.trials
    assert settle_cluster(settled) == (settled, "")
