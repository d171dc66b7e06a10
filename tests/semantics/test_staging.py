"""Copies on a node's own disk: made once, waited for, evicted when nobody reads them, never the only way."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.waiting import until
from vprdist.errors import CacheError
from vprdist.private import Trust
from vprdist.semantics.cache import Cache, open_cache, verify
from vprdist.semantics.cache.staging import Staged, staged
from vprdist.semantics.importing import import_cache

from .conftest import SHARD_IMAGES, World


@pytest.fixture(params=["$NOWHERE/fast", "relative/fast"])
def no_folder_of_a_node(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_a_variable_that_the_node_does_not_have_is_a_fallback(
    world: World, no_folder_of_a_node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)
    with staged(cache.path, ["cph"], no_folder_of_a_node) as found:
        assert found.path == cache.path
        assert found.fallback is not None and "is no folder of this node" in found.fallback
    assert not (tmp_path / no_folder_of_a_node.parts[0]).exists()


REPO = Path(__file__).resolve().parents[2]
COPIER = """if True:
    import sys, time
    from pathlib import Path
    from vprdist.files import write_text
    from vprdist.semantics.cache.staging import staged
    cache, scratch, city, seconds, name = sys.argv[1:]
    def slow(done, total):
        with open(name + ".progress", "a") as stream:
            stream.write(f"{done} {total}\\n")
        time.sleep(float(seconds))
    with staged(Path(cache), [city], Path(scratch), slow) as found:
        write_text(Path(name + ".path"), str(found.path))  # is looked for, and is there whole
        while not Path(name + ".go").exists():
            time.sleep(0.01)
"""


@pytest.fixture
def cache(world: World) -> Cache:
    return import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)


def copies(scratch: Path) -> list[Path]:
    return sorted(path for path in scratch.glob("vprdist-*/*") if path.is_dir())


def start(cache: Cache, scratch: Path, city: str, seconds: float, name: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", COPIER, str(cache.path), str(scratch), city, str(seconds), str(name)]
    return subprocess.Popen(command, cwd=REPO)


def test_the_copy_holds_the_same_activations_of_its_cities_alone(cache: Cache, world: World, tmp_path: Path) -> None:
    scratch, told = tmp_path / "nvme", list[tuple[int, int]]()
    with staged(cache.path, ["cph"], scratch, lambda done, total: told.append((done, total))) as found:
        assert found.fallback is None
        assert found.path.parent.parent == scratch
        copy = open_cache(found.path)
        for side in ("query", "database"):
            assert list(copy.keys("cph", side)) == list(cache.keys("cph", side))
            for key, truth in world.truth["cph", side].items():
                assert (copy.activations("cph", side, key) == truth).all()
        with pytest.raises(CacheError):
            copy.keys("amman", "query")
        assert copy.digest == cache.manifest.digest_of(["cph"]) == verify(found.path).digest
    shards = [shard for shard in cache.manifest.shards if shard.city == "cph"]
    assert told == [(int(n), sum(s.bytes for s in shards)) for n in np.cumsum([s.bytes for s in shards])]
    before = [(path, path.stat().st_ino) for path in copies(scratch)[0].rglob("*")]
    with staged(cache.path, ["cph"], scratch, lambda done, total: told.append((-1, -1))) as again:
        assert again.path == found.path
    assert (-1, -1) not in told, "the second use copies nothing"
    assert [(path, path.stat().st_ino) for path in copies(scratch)[0].rglob("*")] == before


def test_a_second_job_waits_for_the_first_ones_copy(cache: Cache, tmp_path: Path) -> None:
    scratch, names = tmp_path / "nvme", [tmp_path / "one", tmp_path / "two"]
    jobs = [start(cache, scratch, "cph", 0.2, name) for name in names]
    until(lambda: all(name.with_suffix(".path").exists() for name in names))
    assert names[0].with_suffix(".path").read_text() == names[1].with_suffix(".path").read_text()
    assert sum(name.with_suffix(".progress").exists() for name in names) == 1, "one of them copied"
    for name, job in zip(names, jobs, strict=True):
        name.with_suffix(".go").touch()
        assert job.wait(30) == 0
    assert len(copies(scratch)) == 1


def test_of_two_ranks_that_come_at_once_neither_waits_for_the_end_of_the_other(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, flock, others = tmp_path / "nvme", fcntl.flock, contextlib.ExitStack()
    met: list[Staged] = []

    def slow(lock: Any, how: int) -> None:
        if how & fcntl.LOCK_EX and not met:  # both saw no copy; the other one was quicker, copied, and reads by now
            flock(lock, fcntl.LOCK_UN)
            met.append(Staged(cache.path, None))
            met[0] = others.enter_context(staged(cache.path, ["cph"], scratch))
            assert how & fcntl.LOCK_NB, "the other rank reads until this one has met it in a collective"
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with others, staged(cache.path, ["cph"], scratch) as found:
        assert [found] == met and found.fallback is None


def test_a_killed_copier_leaves_nothing_that_is_taken_for_whole(cache: Cache, world: World, tmp_path: Path) -> None:
    scratch, name = tmp_path / "nvme", tmp_path / "one"
    job = start(cache, scratch, "cph", 60, name)
    until(name.with_suffix(".progress").exists)  # one shard is there, and no manifest
    assert len(copies(scratch)) == 1
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    with staged(cache.path, ["cph"], scratch) as found:
        assert found.fallback is None
        assert verify(found.path).digest == cache.manifest.digest_of(["cph"])
        assert copies(scratch) == [found.path], "what the killed one left is gone"


@pytest.mark.parametrize("gone", ["a shard", "the manifest"])
def test_a_copy_that_the_nodes_cleaner_took_a_part_of_is_made_anew(cache: Cache, tmp_path: Path, gone: str) -> None:
    scratch = tmp_path / "nvme"

    def lose(copy: Path) -> None:
        path = next((copy / "shards").iterdir()) if gone == "a shard" else copy / "manifest.json"
        path.unlink()

    with staged(cache.path, ["cph"], scratch) as first:
        lose(first.path)
        # Whoever reads it has mapped what it needs: nobody waits for its end, or takes the rest away.
        with staged(cache.path, ["cph"], scratch) as beside:
            assert beside.path == cache.path
            assert beside.fallback is not None and "others read what is left" in beside.fallback
    with staged(cache.path, ["cph"], scratch) as again:
        assert again == (first.path, None)
        assert verify(again.path).digest == cache.manifest.digest_of(["cph"])


def test_a_damaged_shard_is_not_copied(cache: Cache, tmp_path: Path) -> None:
    shard = next(each for each in cache.manifest.shards if each.city == "cph")
    data = bytearray((cache.path / shard.file).read_bytes())
    data[len(data) // 2] ^= 1
    (cache.path / shard.file).write_bytes(data)
    with pytest.raises(CacheError, match="SHA-256"), staged(cache.path, ["cph"], tmp_path / "nvme"):
        pass
    assert copies(tmp_path / "nvme") == []
    with staged(cache.path, ["amman"], tmp_path / "nvme") as found:
        assert found.fallback is None


def test_a_disk_that_cannot_be_written_is_said_and_not_used(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with staged(cache.path, ["cph"], tmp_path / "file") as found:
        assert found.path == cache.path
        assert found.fallback is not None
        assert "Not a directory" in found.fallback
        assert str(cache.path) in found.fallback


def part_bytes(cache: Cache, city: str) -> int:
    return sum(shard.bytes for shard in cache.manifest.shards if shard.city == city)


@pytest.mark.parametrize("how", ["all may write to it", "another made it", "a link"])
def test_a_copy_that_another_user_may_have_planted_is_not_read(cache: Cache, open_path: Path, how: str) -> None:
    """The folder's name is known to everybody on the node: without asking who made it, its shards were ours."""
    scratch = open_path / "scratch"
    with staged(cache.path, ["cph"], scratch) as found:
        home = found.path.parent
    if how == "a link":
        home.rename(open_path / "away")
        home.symlink_to(open_path / "away")
        home = open_path / "away"
    home.chmod(0o777 if how != "another made it" else 0o755)
    if how == "another made it":
        if os.geteuid() != 0:
            pytest.skip("gives a folder to another user, which root alone can")
        os.chown(home, 54321, -1)
    with staged(cache.path, ["cph"], scratch) as found:
        assert found.path == cache.path
        assert found.fallback is not None
        assert "somebody else may write to it" in found.fallback


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user, which root alone can")
def test_whom_the_profile_trusts_may_own_the_scratch_folder(cache: Cache, open_path: Path) -> None:
    """The remedy was to name them in the profile, where they were named."""
    os.chown(open_path, 54321, -1)
    with staged(cache.path, ["cph"], open_path / "scr") as found:
        assert "trusted_users" in (found.fallback or "")
    with staged(cache.path, ["cph"], open_path / "scr", trust=Trust(users=("54321",))) as found:
        assert found.fallback is None


def test_a_small_disk_is_fallen_back_from_and_shared_by_eviction(
    cache: Cache, tmp_path: Path, small_disk: Callable[[int], Path]
) -> None:
    one, other = part_bytes(cache, "cph"), part_bytes(cache, "amman")
    assert one < other
    tiny = small_disk(one // 2)
    with staged(cache.path, ["cph"], tiny) as found:
        assert found.path == cache.path
        assert "are free" in (found.fallback or "")
    assert copies(tiny) == []

    # Room for either city, not for both.
    disk = small_disk(int(other * 1.15) + 100_000)
    with staged(cache.path, ["cph"], disk) as first:
        assert first.fallback is None
        filler = disk / "somebody elses"
        filler.write_bytes(b"x" * (shutil.disk_usage(disk).free - int(other * 1.02)))
        with staged(cache.path, ["amman"], disk) as second:
            assert second.fallback is not None, "the first one is being read: it may not go"
        assert verify(first.path).digest == cache.manifest.digest_of(["cph"])
    with staged(cache.path, ["amman"], disk) as second:
        assert second.fallback is None
        assert copies(disk) == [second.path]


def test_the_longest_unused_goes_first(
    cache: Cache, tmp_path: Path, small_disk: Callable[[int], Path], make_world: Callable[..., World]
) -> None:
    """Three caches of one size on a disk that takes two."""
    worlds = [make_world(f"w{seed}", seed=seed, size=(48, 64)) for seed in (1, 2, 3)]
    caches = [import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES) for world in worlds]
    size = part_bytes(caches[0], "amman")
    disk = small_disk(int(size * 2.6))
    paths = []
    for cache in (caches[0], caches[1], caches[0], caches[2]):  # the first is used once more before the third comes
        with staged(cache.path, ["amman"], disk) as found:
            assert found.fallback is None
            paths.append(found.path)
        time.sleep(0.02)
    assert paths[0] == paths[2]
    assert copies(disk) == sorted([paths[0], paths[3]])
