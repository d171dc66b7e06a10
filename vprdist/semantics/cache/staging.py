"""Copies of cache shards on a node's own disk: made once a node, shared by its ranks and by other jobs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from vprdist.errors import CacheError, LaunchError
from vprdist.files import file_stamp, read_json, write_json, write_text
from vprdist.machine import current_user
from vprdist.private import OURSELVES, Guard, Trust
from vprdist.semantics.cache.format import MANIFEST, Manifest, read_manifest
from vprdist.semantics.cache.reader import open_cache
from vprdist.semantics.cache.shard import check_digest

Progress = Callable[[int, int], None]
READ = "read.json"
"""In a copy: the stamps that its shards had when their digests were last compared."""
MARGIN = 1.1
"""A disk must have so much more room than the copy needs: other jobs write too."""


class Staged(NamedTuple):
    """Where to read the cache, and what was fallen back to (None: the copy is used)."""

    path: Path
    fallback: str | None


@contextlib.contextmanager
def staged(
    cache: Path,
    cities: Iterable[str],
    scratch: Path,
    progress: Progress = lambda done, total: None,
    trust: Trust = OURSELVES,
) -> Iterator[Staged]:
    """Read these cities' activations from the node's own disk while the block runs.

    The copy is a cache of its own, that holds these cities alone; it appears by one rename after every shard's
    SHA-256 was compared. Whoever comes while it is made waits for it. A reader's shared lock keeps it from being
    evicted; copies that nobody reads go, the longest unused first, when room is needed.

    Args:
        scratch: a folder of the node; copies lie below `vprdist-<user>` in it.
        progress: called with bytes done and of all while copying.
        trust: who else may write to the scratch folder.

    Yields:
        The copy; or `cache` itself and the reason, where the disk is too small or cannot be written.

    Raises:
        CacheError: a shard is not what the manifest says.
    """
    whole = read_manifest(cache)
    part = part_of(whole, cities)
    with contextlib.ExitStack() as stack:
        try:
            if not scratch.is_absolute() or "$" in str(scratch):
                raise OSError(f"{scratch} is no folder of this node: a variable of it is not set here")
            home = scratch / f"vprdist-{current_user()}"
            _make_private(home, trust)
            lock = stack.enter_context((home / f"{part.digest}.lock").open("a"))
            copy = home / part.digest
            _make(cache, part, copy, lock, progress)
            os.utime(lock.fileno())  # the time of its last use
        except OSError as error:
            reason = f"the cache was not copied to {scratch} ({error.strerror or error}): read from {cache}"
            yield Staged(cache, reason)
            return
        yield Staged(copy, None)


def _make_private(home: Path, trust: Trust) -> None:
    """The name of the folder is known to everybody on the node: another user may have made it before, full of shards.

    Raises:
        OSError: others may write to it.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        Guard(trust).check(home)
    except LaunchError as error:
        raise OSError(str(error).rstrip(".")) from None


def part_of(manifest: Manifest, cities: Iterable[str]) -> Manifest:
    """The manifest of the same cache with some cities alone."""
    wanted = set(cities)
    return manifest.model_copy(
        update={
            "cities": {city: digest for city, digest in manifest.cities.items() if city in wanted},
            "sides": tuple(side for side in manifest.sides if side.city in wanted),
            "shards": tuple(shard for shard in manifest.shards if shard.city in wanted),
            "digest": manifest.digest_of(wanted),
        }
    )


def _make(cache: Path, part: Manifest, copy: Path, lock: IO[str], progress: Progress) -> None:
    """Returns with a shared lock and a whole copy. The kernel frees the lock of a copier that is killed.

    Raises:
        OSError: the disk does not take it; or a part of the copy is gone, and others read what is left.
    """
    while True:
        fcntl.flock(lock, fcntl.LOCK_SH)  # waits for whoever copies
        if _is_whole(copy):
            return
        damaged = copy.exists()  # cleaners of such disks take files that are long unused
        try:
            # Never waited for: another rank may have its shared lock already, and keep it until this one joins it.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if damaged:
                raise OSError(f"a part of {copy} is gone or changed, and others read what is left") from None
            fcntl.flock(lock, fcntl.LOCK_UN)
            time.sleep(random.uniform(0.01, 0.1))
            continue
        # To take one lock the other is let go for a moment, in which a copy may come or go.
        if not _is_whole(copy):
            _copy(cache, part, copy, progress)


def _is_whole(copy: Path) -> bool:
    """Every shard is there, and was read since it was last written to: whoever copied it did."""
    try:
        shards = open_cache(copy).manifest.shards
        read = _read_stamps(copy)
        stamps = {shard.file: file_stamp((copy / shard.file).stat()) for shard in shards}
        for shard in shards:
            if read.get(shard.file) != stamps[shard.file]:
                check_digest(copy, shard)
    except (CacheError, FileNotFoundError):
        return False
    if read != stamps:
        with contextlib.suppress(OSError):
            write_json(copy / READ, stamps)
    return True


def _read_stamps(copy: Path) -> dict[str, int]:
    try:
        return dict(read_json(copy / READ))
    except (OSError, ValueError, TypeError):
        return {}


def _copy(cache: Path, part: Manifest, copy: Path, progress: Progress) -> None:
    total = sum(shard.bytes for shard in part.shards)
    # A copier that was killed left these, or a cleaner did: we hold the lock now.
    for left in (copy, *copy.parent.glob(f"{part.digest}-*")):
        shutil.rmtree(left, ignore_errors=True)
    _make_room(copy.parent, int(total * MARGIN), keep=part.digest)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{part.digest}-", dir=copy.parent))
    try:
        done, stamps = 0, {}
        for shard in part.shards:
            target = unfinished / shard.file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cache / shard.file, target)
            check_digest(unfinished, shard, where=cache)
            stamps[shard.file] = file_stamp(target.stat())
            done += shard.bytes
            progress(done, total)
        write_json(unfinished / READ, stamps)
        write_text(unfinished / MANIFEST, part.to_text())
        unfinished.rename(copy)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _make_room(home: Path, needed: int, keep: str) -> None:
    """Evict copies that nobody reads until there is room.

    Raises:
        OSError: there is not.
    """
    locks = sorted(home.glob("*.lock"), key=lambda path: path.stat().st_mtime)
    for path in locks:
        if shutil.disk_usage(home).free >= needed:
            return
        if path.stem == keep:
            continue
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # somebody reads it
            (home / path.stem / MANIFEST).unlink(missing_ok=True)  # first: what is left of it is then no copy
            shutil.rmtree(home / path.stem, ignore_errors=True)
    free = shutil.disk_usage(home).free
    if free < needed:
        raise OSError(f"it needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
