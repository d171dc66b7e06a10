"""Paths that others may write to: they can put there what a job of ours then loads.

A path is as private as its weakest part, so each part of it is looked at from the root on, links followed by hand:
the owner of a folder, and whoever may write to it, can put another thing in the place of what lies in it. Rights of
others mean nothing below a folder that lets none of them in.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import itertools
import os
import pwd
import shlex
import stat
import struct
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from vprdist.errors import LaunchError

ACL = "system.posix_acl_access"
INDUCTOR = "TORCHINDUCTOR_CACHE_DIR"
ACL_OWNER_GROUP, ACL_USER, ACL_GROUP, ACL_MASK, ACL_WRITE, ACL_ENTER = 0x04, 0x02, 0x08, 0x10, 0x02, 0x01
MOST_LINKS = 40
"""As many links as the kernel follows."""
BOTH = "g-w,o-w"
EVERY_UID = 2**32 - 1
CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"), Path("/var/run/secrets/kubernetes.io"))
"""What Docker, Podman and Kubernetes put into each container."""
MOST_COUNTED = 1000
"""Files that are counted for a message: a file system of a cluster takes a minute for a hundred thousand."""


@dataclass(frozen=True)
class Trust:
    """The users who may write to what our jobs load, beside ourselves and root.

    Args:
        users: names or numbers of users.
        group: the name or number of a group; its members may own what lies there, and the group may write to it.
    """

    users: tuple[str, ...] = ()
    group: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For another process (`from_json`)."""
        return {"users": list(self.users), "group": self.group}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """The trust that `to_json` told of."""
        return cls(tuple(said["users"]), said["group"])

    @property
    def umask(self) -> int:
        """The rights that nothing new may give away: writing to it, for all who are not trusted."""
        return stat.S_IWOTH if self.group is not None else stat.S_IWGRP | stat.S_IWOTH


OURSELVES = Trust()


def narrow_umask(trust: Trust) -> None:
    """What this process and those it starts make from now on is written by nobody who is not trusted."""
    before = os.umask(0o077)
    os.umask(before | trust.umask)


@dataclass
class Guard:
    """Looks at paths; what it has found to be private is not looked at again."""

    trust: Trust = OURSELVES
    whole: Path | None = None
    """A folder of many files, whose rights are mended by one command: the run folder."""
    _seen: set[Path] = field(default_factory=set)
    _sheltered: set[Path] = field(default_factory=set)
    """Folders that nobody whom we do not trust can enter, and what was seen in them."""

    def check(self, *paths: Path) -> None:
        """Only we, root and whom we trust may write to these files and folders, and to every folder above.

        What is not there is nobody's: the last folder that is there is looked at instead.

        Raises:
            LaunchError: somebody else may, or the path cannot be followed.
        """
        for path in paths:
            last = self.check_way(path)
            if _is_sticky(last[1]) and last[1].st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                self._check_writers(*last)  # /tmp is no place for what a job loads, though what we own in it is

    def check_way(self, path: Path) -> tuple[Path, os.stat_result]:
        """What is not there yet, and is made next, would be ours alone.

        Returns:
            The last part that is there.

        Raises:
            LaunchError: somebody else may write on the way to it, or the path cannot be followed.
        """
        for place, found in _parts(path):
            if place not in self._seen:
                self._check_part(place, found)
                self._seen.add(place)
                if place.parent in self._sheltered or self._lets_nobody_in(place, found):
                    self._sheltered.add(place)
            last = place, found
        return last  # the root at least

    def _check_part(self, place: Path, found: os.stat_result) -> None:
        if not self._owns(found.st_uid) and not _is_unmapped(place, found):
            owner, remedy = _user(found.st_uid), f"Take it over (chown {_user(os.geteuid())} {_quoted(place)}, as root)"
            if os.geteuid() == 0:  # to take it over would take it away from its owner
                remedy = f"Start vprdist as {owner} (in a container: docker run --user {found.st_uid})"
            raise self._refusal(place, found, remedy, "trusted_users")
        if stat.S_ISLNK(found.st_mode) or _is_sticky(found):
            return  # a link has no rights of its own; in a sticky folder nobody moves what another owns
        self._check_writers(place, found)

    def _lets_nobody_in(self, place: Path, found: os.stat_result) -> bool:
        """Without the right to enter a folder nothing below it can be reached, by whatever name."""
        if not stat.S_ISDIR(found.st_mode) or not self._owns(found.st_uid) or found.st_mode & stat.S_IXOTH:
            return False
        return not found.st_mode & stat.S_IXGRP or self._group_is_trusted(place, found, ACL_ENTER)

    def _check_writers(self, place: Path, found: os.stat_result) -> None:
        has_one_name = stat.S_ISDIR(found.st_mode) or found.st_nlink == 1  # another may lie where everybody comes
        if place.parent in self._sheltered and has_one_name:
            return
        ours = os.geteuid() in (0, found.st_uid)
        forbid = "Forbid it:" if ours else f"Ask {_user(found.st_uid)} to forbid it:"
        if _is_sticky(found):
            raise self._refusal(place, found, "Make a folder of your own in it, and choose that", None)
        if found.st_mode & stat.S_IWOTH and stat.S_ISDIR(found.st_mode) and not ours:
            raise self._refusal(place, found, f"{forbid} chmod +t {_quoted(place)}", None)  # /scratch is for everybody
        if found.st_mode & stat.S_IWOTH:
            rights = "o-w" if self.trust.group is not None and self._group_is_trusted(place, found, ACL_WRITE) else BOTH
            raise self._refusal(place, found, f"{forbid} {self._chmod(rights, place)}", None)
        if found.st_mode & stat.S_IWGRP and not self._group_is_trusted(place, found, ACL_WRITE):
            raise self._refusal(place, found, f"{forbid} {self._chmod('g-w', place)}", "trusted_group")

    def _chmod(self, rights: str, place: Path) -> str:
        whole = self.whole.resolve() if self.whole is not None else None
        if whole is None or not place.is_relative_to(whole):
            return f"chmod {rights} {_quoted(place)}"
        wrong = (stat.S_IWGRP if "g-w" in rights else 0) | (stat.S_IWOTH if "o-w" in rights else 0)
        count = sum(1 for _ in itertools.islice(_writable(whole, wrong), MOST_COUNTED))
        if count < 2:
            return f"chmod {rights} {_quoted(place)}"
        many = f"{count} or more" if count == MOST_COUNTED else str(count)
        return f"chmod -R {rights} {_quoted(whole)} (so are {many} of its files and folders)"

    def _group_is_trusted(self, place: Path, found: os.stat_result, right: int) -> bool:
        """Whoever has a right as the file's group, or by an ACL, whose mask stands where the group's rights do."""
        entries = _acl(place)
        if not entries:
            return self._trusts_group(found.st_gid)
        mask = next((rights for tag, rights, _ in entries if tag == ACL_MASK), right)
        for tag, rights, number in entries:
            if not rights & mask & right:
                continue
            if tag == ACL_USER and not self._owns(number):
                return False
            if tag in (ACL_GROUP, ACL_OWNER_GROUP):
                group = found.st_gid if tag == ACL_OWNER_GROUP else number
                if not self._trusts_group(group):
                    return False
        return True

    def _owns(self, uid: int) -> bool:
        if uid in (0, os.geteuid()) or {str(uid), _user(uid)} & set(self.trust.users):
            return True
        return self.trust.group is not None and _gid(self.trust.group) in _groups_of(uid)

    def _trusts_group(self, gid: int) -> bool:
        return (self.trust.group is not None and gid == _gid(self.trust.group)) or _is_ours_alone(gid)

    def _refusal(self, place: Path, found: os.stat_result, remedy: str, key: str | None) -> LaunchError:
        owner, group = _user(found.st_uid), _group(found.st_gid)
        rights = f"{stat.filemode(found.st_mode)} {owner}:{group}"
        if found.st_mode & stat.S_IWGRP and _acl(place):
            rights += ", with an ACL"
        names = {"trusted_users": owner, "trusted_group": group}
        remedy += f"; or name {names[key]} in the profile's `{key}`." if key else "."
        fault = "somebody else may write to it, and what jobs load must be yours alone"
        return LaunchError(place, fault, rights, remedy)


def owner_of_container() -> str | None:
    """The user whose folder root of a container was started in.

    It is mounted from outside and is its owner's there, who started the container, or whose job it is.

    Returns:
        Their number; None outside of a container, as another user than root, and in a folder of root's.
    """
    if os.geteuid() != 0 or not any(mark.exists() for mark in CONTAINER_MARKS):
        return None
    owner = Path().stat().st_uid
    return str(owner) if owner else None


def use_private_compiler_cache() -> str | None:
    """torch.compile loads code from a folder of /tmp with a name that everybody knows: it must be ours, or another.

    To be called before anything is compiled, where nobody has set another folder. The folder may be made by another
    user at any time before ours.

    Returns:
        Why the usual folder is not used, in words; None where it is.
    """
    if INDUCTOR in os.environ:
        return None
    usual = Path(tempfile.gettempdir()) / f"torchinductor_{_user(os.geteuid())}"
    try:
        usual.mkdir(mode=0o700, exist_ok=True)
        Guard().check(usual)
        os.environ[INDUCTOR] = str(usual)
        return None
    except (LaunchError, OSError) as error:
        os.environ[INDUCTOR] = tempfile.mkdtemp(prefix="vprdist-compiled-")
        return f"torch.compile keeps what it compiles in {os.environ[INDUCTOR]}: {error}"


def _is_sticky(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) and bool(found.st_mode & stat.S_ISVTX)


def _parts(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every folder and link on the way to a path, and itself, from the root on, as far as they are there."""
    place, waiting, links = Path("/"), list(reversed(path.absolute().parts[1:])), 0
    yield place, place.lstat()
    while waiting:
        word = waiting.pop()
        if word == "..":
            place = place.parent
            continue
        try:
            found = (place / word).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            remedy = "Look at its permissions; a file server may not know you, or root."
            raise LaunchError(place / word, "it cannot be looked at", error.strerror, remedy) from None
        yield place / word, found
        if not stat.S_ISLNK(found.st_mode):
            place = place / word
            continue
        links += 1
        if links > MOST_LINKS:
            raise LaunchError(path, "its links cannot be followed", os.strerror(errno.ELOOP), "Mend the links.")
        target = (place / word).readlink()
        if target.is_absolute():
            place = Path("/")
        waiting += reversed([part for part in target.parts if part != "/"])


def _writable(folder: Path, rights: int) -> Iterator[Path]:
    """The folder and what lies in it, as far as its mode has one of these rights."""
    names = (Path(at) / name for at, folders, files in os.walk(folder) for name in (*folders, *files))
    for place in itertools.chain([folder], names):
        with contextlib.suppress(OSError):
            found = place.lstat()
            if not stat.S_ISLNK(found.st_mode) and found.st_mode & rights:
                yield place


def _acl(place: Path) -> list[tuple[int, int, int]]:
    """Tag, rights and number of each entry of a POSIX ACL; none where there is none. NFSv4's cannot be seen."""
    try:
        raw = os.getxattr(place, ACL)
    except OSError:
        return []
    return list(struct.iter_unpack("<HHI", raw[4:]))


@lru_cache
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@lru_cache
def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


@lru_cache
def _gid(name: str) -> int:
    """The number of a group; -1 where there is none of that name here."""
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        return -1


@lru_cache
def _groups_of(uid: int) -> frozenset[int]:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))


@lru_cache
def _is_ours_alone(gid: int) -> bool:
    """The user's own group, as many systems give each user one of their name: it has no other member."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return gid == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _is_unmapped(place: Path, found: os.stat_result) -> bool:
    """In a container that knows few users every other one is `nobody`, root too: what we cannot write to there is
    taken for the system's. Outside of it the driver has looked at the same folders by their true owners."""
    known = sum(count for _, _, count in _uid_map())
    return known < EVERY_UID and found.st_uid == _overflow() and not os.access(place, os.W_OK)


@lru_cache
def _uid_map() -> tuple[tuple[int, int, int], ...]:
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return ((0, 0, EVERY_UID),)
    rows = [tuple(map(int, line.split())) for line in lines]
    return tuple((row[0], row[1], row[2]) for row in rows if len(row) == 3) or ((0, 0, EVERY_UID),)


@lru_cache
def _overflow() -> int:
    try:
        return int(Path("/proc/sys/fs/overflowuid").read_text())
    except (OSError, ValueError):
        return 65534


def _quoted(place: Path) -> str:
    return shlex.quote(str(place))
