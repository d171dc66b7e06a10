"""Which code this process runs: its version, the digest of its source, and whether somebody changed it by hand."""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from vprdist import __version__
from vprdist.shipped import INSIDE

GIT_S = 10.0
"""Seconds that git may take for an answer; a slow disk then leaves the question open."""
MOST_FILES = 20
"""Changed files that are named."""
ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")
"""Variables that would make git answer for another repository: a git hook that starts a sweep sets them."""
Hash = Callable[[bytes, str], str]
"""The hash of a file's bytes, in the form that a known hash has."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The code that computed something.

    version: the package's.
    digest: 16 hex digits of the SHA-256 over the paths and bytes of all its Python files.
    changed: whether they differ from what was installed or committed; None: nobody can tell.
    files: those that differ, as paths below the package; the first 20.
    commit: what is checked out, where the package is a git checkout.
    """

    version: str
    digest: str
    changed: bool | None = None
    files: tuple[str, ...] = ()
    commit: str | None = None

    @property
    def short(self) -> str:
        """The digest as tables show it."""
        return self.digest[:8]

    @classmethod
    def of_json(cls, value: object) -> Source | None:
        """The source that a result names; None where it names none, or in a form that this version does not know."""
        try:
            return cls(**{**value, "files": tuple(value["files"])}) if isinstance(value, Mapping) else None
        except (KeyError, TypeError):
            return None


@functools.cache
def running_source() -> Source | None:
    """This process's code, looked at once; None where its files cannot be read. It raises nothing."""
    return source_of(Path(__file__).resolve().parent, __version__)


@functools.cache
def running_digest() -> str:
    """The digest of this process's code alone, for which git is not asked.

    Raises:
        OSError: its files cannot be read.
    """
    return _digest(_texts_of(Path(__file__).resolve().parent))


def _texts_of(package: Path) -> dict[str, bytes]:
    """All its Python files, by their paths below it."""
    paths = {path.relative_to(package): path for path in package.rglob("[!.]*.py") if path.is_file()}
    # What is shipped is no code of ours, and lies elsewhere in a checkout: a wheel of it has the same digest.
    return {name.as_posix(): path.read_bytes() for name, path in paths.items() if name.parts[0] != INSIDE}


def source_of(package: Path, version: str) -> Source | None:
    """The source of the package in a folder; None where its files cannot be read."""
    try:
        texts = _texts_of(package)
    except OSError:
        return None
    if not texts:
        return None
    files, commit = _against_record(package, texts), None
    if files is None:
        files, commit = _against_commit(package, texts)
    changed = None if files is None else bool(files)
    named = tuple(files or ())[:MOST_FILES]
    return Source(version=version, digest=_digest(texts), changed=changed, files=named, commit=commit)


def _digest(texts: Mapping[str, bytes]) -> str:
    found = hashlib.sha256()
    for name in sorted(texts):
        found.update(f"{name}\0{len(texts[name])}\0".encode())
        found.update(texts[name])
    return found.hexdigest()[:16]


def _against_record(package: Path, texts: Mapping[str, bytes]) -> list[str] | None:
    """The files that are not what a wheel installed; None where the package is no installed wheel's."""
    try:
        records = [dist.read_text("RECORD") for dist in distributions(name=package.name, path=[str(package.parent)])]
    except (OSError, ValueError):
        return None
    for record in filter(None, records):
        rows = [row for row in csv.reader(record.splitlines()) if len(row) >= 2]
        start, shipped = f"{package.name}/", f"{package.name}/{INSIDE}/"
        ours = ((path, kept) for path, kept, *_ in rows if path.startswith(start) and not path.startswith(shipped))
        own = {path[len(start) :]: kept for path, kept in ours if path.endswith(".py")}
        if "__init__.py" in own:
            return _differing(texts, own, _as_recorded)
    return None


def _as_recorded(data: bytes, like: str) -> str:
    kind = like.partition("=")[0]
    value = base64.urlsafe_b64encode(hashlib.new(kind, data).digest()).rstrip(b"=").decode()
    return f"{kind}={value}"


def _against_commit(package: Path, texts: Mapping[str, bytes]) -> tuple[list[str] | None, str | None]:
    """The files that are not what is committed, and the commit; (None, None) where the package is no git checkout.

    The commit's tree is compared, and not what `git status` says: that reads git's index, which may be told to
    overlook a file, and it runs filters and a monitor of the user's. Reading a tree runs nothing of the user's.
    """
    commit, tree = _git(package, "rev-parse", "--verify", "HEAD"), _git(package, "ls-tree", "-r", "-z", "HEAD")
    if commit is None or tree is None:
        return None, None
    entries = [entry.partition("\t") for entry in tree.split("\0") if entry]
    blobs = {name: words.split()[2] for words, _, name in entries if name.endswith(".py")}
    if "__init__.py" not in blobs:  # it only lies in somebody's checkout: a virtual environment in a project's folder
        return None, None
    return _differing(texts, blobs, _as_blob), commit.strip()


def _as_blob(data: bytes, like: str) -> str:
    kind = "sha1" if len(like) == 40 else "sha256"
    for text in (data, data.replace(b"\r\n", b"\n")):  # ends of lines may be checked out in another way
        found = hashlib.new(kind, b"blob %d\0" % len(text) + text, usedforsecurity=False).hexdigest()
        if found == like:
            break
    return found


def _differing(texts: Mapping[str, bytes], wanted: Mapping[str, str], hashed: Hash) -> list[str]:
    """The files that were added, taken away or changed, in order."""
    same = {name for name in texts.keys() & wanted.keys() if hashed(texts[name], wanted[name]) == wanted[name]}
    return sorted((texts.keys() | wanted.keys()) - same)


def _git(package: Path, *words: str) -> str | None:
    """What git says inside the package's folder; None where there is no git, or it refuses ("dubious ownership")."""
    environ = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    try:
        done = subprocess.run(
            ["git", "-C", str(package), *words], env=environ, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=GIT_S, check=False,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
