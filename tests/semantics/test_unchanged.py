"""Shards that are written over at the same size: refused once a run folder, by every byte or by a sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worlds import zero_a_third
from vprdist.errors import CacheError
from vprdist.files import file_stamp
from vprdist.semantics.cache import Cache, shard, unchanged
from vprdist.semantics.cache.staging import staged
from vprdist.semantics.cache.unchanged import check_shards
from vprdist.semantics.importing import import_cache
from vprdist.store.seen import read_shards

from .conftest import COMPRESSIONS, SHARD_IMAGES, World

CITIES = ("amman", "cph")


@pytest.fixture(params=COMPRESSIONS)
def cache(world: World, request: pytest.FixtureRequest) -> Cache:
    return import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES, compression=request.param)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards whose bytes were digested, by name."""
    names: list[str] = []

    def digest(path: Path) -> str:
        names.append(path.name)
        return digest_file(path)

    digest_file = shard.digest_file
    monkeypatch.setattr(shard, "digest_file", digest)
    return names


def shards_of(cache: Cache, *cities: str) -> list[Path]:
    return [cache.path / entry.file for entry in cache.manifest.shards if entry.city in (cities or CITIES)]


def test_each_shard_is_read_once_a_run_folder(cache: Cache, tmp_path: Path, read: list[str]) -> None:
    told: list[tuple[int, int]] = []
    assert check_shards(cache.path, ["cph"], tmp_path, lambda *moved: told.append(moved)) is None
    ours = [path.name for path in shards_of(cache, "cph")]
    assert read == ours
    assert told == [(number, len(ours)) for number in range(1, len(ours) + 1)]
    read.clear()
    assert check_shards(cache.path, CITIES, tmp_path) is None
    assert read == [path.name for path in shards_of(cache, "amman")], "those of cph are known"
    read.clear()
    assert check_shards(cache.path, CITIES, tmp_path) is None
    assert read == []
    assert check_shards(cache.path, CITIES, tmp_path / "another") is None
    assert len(read) == len(shards_of(cache))


@pytest.mark.parametrize("known", [False, True])
def test_zeros_at_the_same_size_and_time_are_refused(cache: Cache, tmp_path: Path, known: bool) -> None:
    if known:
        check_shards(cache.path, CITIES, tmp_path)
    broken = shards_of(cache, "cph")[1]
    whole = broken.read_bytes()
    zero_a_third(broken)
    for _ in range(2):
        with pytest.raises(CacheError, match=rf"{broken.name}: the shard's SHA-256 must be .* only this shard is made"):
            check_shards(cache.path, CITIES, tmp_path)
    check_shards(cache.path, ["amman"], tmp_path)  # of no concern there
    broken.write_bytes(whole)
    assert check_shards(cache.path, CITIES, tmp_path) is None


def test_a_large_cache_is_sampled_once_and_what_is_written_later_is_read(
    cache: Cache, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged, "SMALL_BYTES", max(path.stat().st_size for path in shards_of(cache)))
    monkeypatch.setattr(unchanged, "NUM_SAMPLED", 5)
    images = sum(entry.count for entry in cache.manifest.shards)
    note = check_shards(cache.path, CITIES, tmp_path)
    assert note is not None and f"5 of {images} images, evenly spread, were compared with their digests" in note
    assert read == []
    stamps = {entry.sha256: file_stamp((cache.path / entry.file).stat()) for entry in cache.manifest.shards}
    assert read_shards(tmp_path, cache.path) == stamps
    assert check_shards(cache.path, CITIES, tmp_path) is None
    broken = shards_of(cache)[2]
    zero_a_third(broken)
    with pytest.raises(CacheError, match=rf"{broken.name}: the shard's SHA-256 must be"):
        check_shards(cache.path, CITIES, tmp_path)
    assert read == [broken.name]


def test_the_sample_finds_a_third_of_zeros_in_each_shard_that_it_looks_into(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classes of all images follow each other, so that a third of a shard is some classes of each image."""
    cache = import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)
    monkeypatch.setattr(unchanged, "SMALL_BYTES", 0)
    for path in shards_of(cache):
        whole = path.read_bytes()
        zero_a_third(path)
        with pytest.raises(CacheError, match=rf"{path.name}: (the activations of an image|structure and keys) must"):
            check_shards(cache.path, CITIES, tmp_path)
        path.write_bytes(whole)
    assert check_shards(cache.path, CITIES, tmp_path) is not None


@pytest.mark.parametrize("broken", ["", "[]", '{"a": "b"}', '{"a": null}'])
def test_a_note_that_cannot_be_read_costs_a_look(cache: Cache, tmp_path: Path, read: list[str], broken: str) -> None:
    check_shards(cache.path, CITIES, tmp_path)
    (note,) = (tmp_path / "data" / "shards").iterdir()
    note.write_text(broken)
    read.clear()
    assert check_shards(cache.path, CITIES, tmp_path) is None
    assert len(read) == len(shards_of(cache))


def forget(copy: Path) -> None:
    """As a version left it that did not note what it had compared."""
    (copy / "read.json").unlink()


@pytest.mark.parametrize("before", [lambda copy: None, forget])
def test_a_copy_of_a_node_that_was_changed_is_made_anew(
    cache: Cache, tmp_path: Path, read: list[str], before: Callable[[Path], None]
) -> None:
    with staged(cache.path, ["cph"], tmp_path) as found:
        copy = found.path
    num_shards = len(shards_of(cache, "cph"))
    assert len(read) == num_shards, "once, when it was copied"
    with staged(cache.path, ["cph"], tmp_path) as found:
        assert found.fallback is None
    assert len(read) == num_shards
    before(copy)
    (broken, *_) = sorted((copy / "shards").iterdir())
    whole = broken.read_bytes()
    zero_a_third(broken)
    with staged(cache.path, ["cph"], tmp_path) as found:
        assert found == (copy, None)
        assert broken.read_bytes() == whole
    read.clear()
    forget(copy)
    with staged(cache.path, ["cph"], tmp_path) as found:
        assert found == (copy, None)
    assert len(read) == num_shards
    read.clear()
    with staged(cache.path, ["cph"], tmp_path) as found:
        assert read == []
