"""Others who may write to a path are found on every part of it: owners, rights, groups, links, ACLs."""

from __future__ import annotations

import grp
import os
import pwd
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from vprdist import private
from vprdist.cli import main
from vprdist.errors import LaunchError
from vprdist.prepare.checks import check_runs_folder
from vprdist.prepare.rights import trust_note
from vprdist.private import ACL, INDUCTOR, Guard, Trust, narrow_umask, use_private_compiler_cache
from vprdist.spec.profile import ClusterProfile

STRANGER = 54321
"""A user that this machine does not know."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users, which root alone can")


@pytest.fixture
def tmp_path(open_path: Path) -> Path:
    """Others' rights count only where others come."""
    return open_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """runs/trial/job.json, private whatever the umask is."""
    trial = tmp_path / "runs" / "trial"
    trial.mkdir(parents=True)
    (trial / "job.json").write_text("{}")
    for path in (trial.parent, trial):
        path.chmod(0o755)
    (trial / "job.json").chmod(0o644)
    return trial


def refused(path: Path, trust: Trust | None = None) -> str:
    """What is said; empty where nothing is wrong."""
    try:
        Guard(trust or Trust()).check(path)
    except LaunchError as error:
        return str(error)
    return ""


def a_group(other_than: int = 0) -> grp.struct_group:
    """A group of this machine that is not the user's own."""
    return next(group for group in grp.getgrall() if group.gr_gid not in (0, other_than, os.getegid()))


def acl(uid: int, mask: int, others: int = 0) -> bytes:
    """An ACL that names one user."""
    entries = [(1, 7, -1), (2, 7, uid), (4, 5, -1), (0x10, mask, -1), (0x20, others, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


def test_what_is_ours_alone_is_private(folder):
    assert refused(folder / "job.json") == ""
    assert refused(folder / "not" / "there") == ""


@pytest.mark.parametrize("part", ["runs", "runs/trial", "runs/trial/job.json"])
def test_a_part_that_all_may_write_to_is_named_with_its_rights_and_the_remedy(folder, part):
    place = folder.parents[1] / part
    place.chmod(place.stat().st_mode | 0o002)
    said = refused(folder / "job.json")
    assert said.startswith(f"{place}: somebody else may write to it")
    assert "rw" in said
    assert f"chmod g-w,o-w {place}" in said


def test_tmp_is_a_parent_of_private_folders_and_no_place_itself(folder):
    folder.parent.chmod(0o1777)
    assert refused(folder / "job.json") == ""
    assert "Make a folder of your own in it" in refused(folder.parent)
    assert "may write to it" in refused(folder.parent / "not there yet")


@as_root
@pytest.mark.parametrize("part", ["runs", "runs/trial", "runs/trial/job.json"])
def test_a_part_that_another_owns_is_refused_in_a_sticky_folder_too(folder, part):
    folder.parent.chmod(0o1777)
    place = folder.parents[1] / part
    os.chown(place, STRANGER, -1)
    said = refused(folder / "job.json")
    assert f"{place}: " in said
    assert f" {STRANGER}:" in said
    assert f"Start vprdist as {STRANGER} (in a container: docker run --user {STRANGER}); or name" in said
    assert refused(folder / "job.json", Trust(users=(str(STRANGER),))) == ""


@as_root
def test_a_group_may_write_where_the_profile_says_so_and_its_members_may_own(folder):
    group = a_group()
    os.chown(folder, -1, group.gr_gid)
    folder.chmod(0o775)
    assert f"name {group.gr_name} in the profile's `trusted_group`" in refused(folder)
    assert refused(folder, Trust(group=group.gr_name)) == ""
    assert refused(folder, Trust(group=str(group.gr_gid))) == ""
    assert refused(folder, Trust(group=a_group(group.gr_gid).gr_name)) != ""
    member = next(user for user in pwd.getpwall() if user.pw_uid and user.pw_gid)
    os.chown(folder, member.pw_uid, a_group(member.pw_gid).gr_gid)
    assert refused(folder, Trust(group=str(member.pw_gid))) != "", "its group is another"
    os.chown(folder, member.pw_uid, member.pw_gid)
    assert refused(folder, Trust(group=str(member.pw_gid))) == ""
    folder.chmod(0o777)
    assert refused(folder, Trust(group=str(member.pw_gid))) != "", "all is more than the group"


def test_a_group_of_the_users_own_is_the_user(folder):
    user = pwd.getpwuid(os.geteuid())
    if grp.getgrgid(user.pw_gid).gr_name != user.pw_name:
        pytest.skip("this user has no group of their own")
    os.chown(folder, -1, user.pw_gid)
    folder.chmod(0o775)
    assert refused(folder) == ""


@as_root
def test_links_are_followed_and_are_somebodys_themselves(folder):
    link = folder.parents[1] / "link"
    link.symlink_to("runs/../runs/trial")
    assert refused(link / "job.json") == ""
    folder.chmod(0o777)
    assert f"{folder}: " in refused(link / "job.json")
    folder.chmod(0o755)
    os.lchown(link, STRANGER, -1)
    assert f"{link}: " in refused(link / "job.json")
    (folder / "round").symlink_to("round")
    assert "its links cannot be followed" in refused(folder / "round" / "x")


@as_root
def test_an_acl_that_lets_a_stranger_write_is_seen(folder):
    try:
        os.setxattr(folder, ACL, acl(STRANGER, 7, 5))
    except OSError:
        pytest.skip("this file system has no ACLs")
    assert "with an ACL" in refused(folder)
    os.setxattr(folder, ACL, acl(STRANGER, 5, 5))
    assert refused(folder) == "", "its mask takes the right away"
    os.setxattr(folder, ACL, acl(0, 7, 5))
    assert refused(folder) == ""


@as_root
@pytest.mark.parametrize("home", [0o700, 0o710])
def test_rights_of_others_mean_nothing_below_a_folder_that_lets_none_of_them_in(folder, home):
    """A checkout made under umask 0002 in a home of the user's own: its first command was refused."""
    other = a_group()
    for place in (folder, folder / "job.json"):
        os.chown(place, -1, other.gr_gid)
        place.chmod(0o2777)
    assert refused(folder / "job.json") != ""
    folder.parent.chmod(home)
    assert refused(folder / "job.json") == ""
    assert refused(folder / "not there yet") == ""
    if home == 0o710:
        os.chown(folder.parent, -1, other.gr_gid)
        assert f"{folder}: " in refused(folder / "job.json"), "its group comes in"


def test_what_has_another_name_or_is_reached_by_a_link_is_not_sheltered(folder):
    home = folder.parents[1] / "home"
    home.mkdir(mode=0o700)
    (home / "job.json").touch()
    (home / "job.json").chmod(0o666)
    (home / "link").symlink_to(folder)
    assert refused(home / "job.json") == ""
    os.link(home / "job.json", folder / "other name")
    assert refused(home / "job.json") != "", "whoever comes to its other name writes to it"
    folder.chmod(0o777)
    assert f"{folder}: " in refused(home / "link" / "job.json")


@as_root
def test_an_acl_that_lets_a_stranger_in_shelters_nothing(folder):
    (folder / "job.json").chmod(0o666)
    folder.chmod(0o700)
    assert refused(folder / "job.json") == ""
    try:
        os.setxattr(folder, ACL, acl(STRANGER, 1))
    except OSError:
        pytest.skip("this file system has no ACLs")
    assert folder.stat().st_mode & 0o777 == 0o710
    assert refused(folder / "job.json") != ""


def test_what_is_made_is_written_by_nobody_else(tmp_path):
    before = os.umask(0)
    try:
        narrow_umask(Trust())
        (tmp_path / "alone").mkdir()
        os.umask(0)
        narrow_umask(Trust(group="lab"))
        (tmp_path / "group").mkdir()
    finally:
        os.umask(before)
    assert (tmp_path / "alone").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "group").stat().st_mode & 0o777 == 0o775


def test_what_torch_compiled_is_taken_from_a_folder_of_ours_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(INDUCTOR, "chosen")
    assert use_private_compiler_cache() is None
    assert os.environ[INDUCTOR] == "chosen"
    monkeypatch.delenv(INDUCTOR)
    assert use_private_compiler_cache() is None
    usual = Path(os.environ[INDUCTOR])
    assert usual == tmp_path / f"torchinductor_{pwd.getpwuid(os.geteuid()).pw_name}", "as torch names it"
    monkeypatch.delenv(INDUCTOR)
    usual.chmod(0o777)
    said = use_private_compiler_cache()
    assert said is not None
    assert "somebody else may write to it" in said
    assert Path(os.environ[INDUCTOR]).stat().st_mode & 0o777 == 0o700


@as_root
def test_root_of_a_container_trusts_the_owner_of_the_folder_it_was_started_in(tmp_path, monkeypatch):
    """`docker run -v $PWD:/work`: it was told to take the host user's folder away from them."""
    os.chown(tmp_path, STRANGER, -1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(private, "CONTAINER_MARKS", (tmp_path / "mark",))
    assert f"Start vprdist as {STRANGER}" in refused(tmp_path, ClusterProfile(kind="local").trust)
    (tmp_path / "mark").touch()
    assert refused(tmp_path / "runs", ClusterProfile(kind="local").trust) == ""
    assert str(STRANGER) in (trust_note(ClusterProfile(kind="local")) or "")
    assert refused(tmp_path, ClusterProfile(kind="slurm").trust) != "", "nodes of a cluster are no container"
    monkeypatch.chdir("/")
    assert trust_note(ClusterProfile(kind="local")) is None
    assert "chown" not in refused(tmp_path, ClusterProfile(kind="local").trust)


def test_all_that_is_wrong_in_a_run_folder_is_mended_by_one_command(folder):
    runs = folder.parent
    for place in (folder, folder / "job.json"):
        place.chmod(0o777)
    with pytest.raises(LaunchError) as error:
        Guard(whole=runs).check(folder / "job.json")
    assert error.value.remedy.startswith(f"Forbid it: chmod -R g-w,o-w {runs} (so are 2 of its files and folders)")
    subprocess.run(["chmod", "-R", "g-w,o-w", runs], check=True)
    Guard(whole=runs).check(folder / "job.json")


def test_a_sweep_that_would_be_refused_for_its_rights_is_refused_by_plan_and_leaves_nothing(tmp_path, capsys):
    """`plan` said how to run it, and the sweep that refused left an empty run folder behind."""
    (tmp_path / "sweep.yaml").write_text("trial: {data: {root: demo}}\n")
    tmp_path.chmod(0o777)
    words = [str(tmp_path / "sweep.yaml"), "--runs", str(tmp_path / "new" / "runs")]
    for command in (["sweep"], ["plan"], ["plan", "--check"]):
        umask = os.umask(0o022)
        try:
            assert main([*command, *words]) == 2
        finally:
            os.umask(umask)
        assert f"{tmp_path}: somebody else may write to it" in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "new").exists()
    assert main(["plan", "--check", "cluster=local", *words[1:]]) == 2


def test_a_run_folder_is_made_in_a_folder_that_is_open_to_everybody(tmp_path):
    tmp_path.chmod(0o1777)
    check_runs_folder(tmp_path / "runs", Trust())
    assert (tmp_path / "runs").is_dir()
