"""A damaged cache gives a clear error, never wrong activations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vprdist.errors import CacheError
from vprdist.semantics.cache import Cache, open_cache, verify
from vprdist.semantics.cache.shard import MappedShard
from vprdist.semantics.importing import import_cache

from .conftest import SHARD_IMAGES, World


@pytest.fixture
def cache(world: World) -> Cache:
    return import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)


def read_all(cache: Cache) -> None:
    for side in cache.manifest.sides:
        for key in cache.keys(side.city, side.side):
            cache.activations(side.city, side.side, key)


def shard(cache: Cache, number: int = 2) -> Path:
    return cache.path / cache.manifest.shards[number].file


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_cut_shard(cache: Cache, cut: int) -> None:
    path = shard(cache)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if not cut else data[:-cut])
    with pytest.raises(CacheError, match=f"{path.name}.*cut.*vprdist cache import"):
        open_cache(cache.path)
    with pytest.raises(CacheError, match="cut"):
        read_all(cache)


def test_a_missing_shard_and_its_repair(cache: Cache, world: World) -> None:
    path = shard(cache)
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(CacheError, match=f"{path.name}.*missing.*vprdist cache import"):
        open_cache(cache.path)
    made: list[int] = []
    import_cache(world.source, world.root, world.out, shard_images=4, progress=lambda done, total: made.append(done))
    assert path.read_bytes() == data
    assert len(made) == cache.manifest.shards[2].count, "only this shard is made anew"


def test_verify_finds_any_flipped_byte(cache: Cache) -> None:
    path = shard(cache)
    data = path.read_bytes()
    steps: list[tuple[int, int]] = []
    verify(cache.path, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (len(cache.manifest.shards),) * 2
    for position in range(0, len(data), len(data) // 40):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(CacheError, match=f"{path.name}.*SHA-256"):
            verify(cache.path)


def test_a_flipped_byte_of_structure_or_keys_is_found_at_the_first_read(cache: Cache) -> None:
    """Without `verify` a flip within the pixels goes unseen: one value of one class. No other flip may."""
    path, entry = shard(cache), cache.manifest.shards[2]
    data = path.read_bytes()
    ((start, end),) = entry.pixels
    assert end - start < len(data) < end - start + 8000
    for position in [*range(0, start, 5), *range(end, len(data), 5), start - 1, end]:
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x40]) + data[position + 1 :])
        with pytest.raises(CacheError, match=f"{path.name}: structure and keys"):
            MappedShard(cache.path, entry, cache.size, cache.manifest.batch_images)


def test_a_shard_of_another_data_set(cache: Cache, make_world: Callable[..., World]) -> None:
    other = make_world("other", seed=0)
    (other.root / "train_val/amman/query/images/new.jpg").write_bytes(b"one more")
    foreign = import_cache(other.source, other.root, other.out, shard_images=SHARD_IMAGES)
    path = shard(cache, 0)
    assert path.stat().st_size == shard(foreign, 0).stat().st_size, "the length alone would not tell"
    path.write_bytes(shard(foreign, 0).read_bytes())
    with pytest.raises(CacheError, match="of another cache"):
        read_all(open_cache(cache.path))


def test_two_shards_exchanged(cache: Cache) -> None:
    first, second = shard(cache, 0), shard(cache, 1)
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    with pytest.raises(CacheError):
        read_all(open_cache(cache.path))


def test_a_file_that_is_no_arrow(cache: Cache) -> None:
    path = shard(cache)
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(CacheError, match="structure and keys"):
        read_all(open_cache(cache.path))


def test_folders_that_are_no_cache(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CacheError, match=r"a cache is a folder with a manifest\.json"):
            open_cache(path)
    (tmp_path / "manifest.json").write_text('{"format": "something else"}')
    with pytest.raises(CacheError, match="format must be"):
        open_cache(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "vpr')
    with pytest.raises(CacheError, match="readable JSON"):
        open_cache(tmp_path)


def change(cache: Cache, **values: object) -> None:
    path = cache.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_newer_version_is_neither_read_nor_overwritten(cache: Cache, world: World) -> None:
    change(cache, version=2, surprise="field")
    with pytest.raises(CacheError, match="up to version 1; found 2"):
        open_cache(cache.path)
    with pytest.raises(CacheError, match="up to version 1; found 2"):
        import_cache(world.source, world.root, world.out)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"height": 0}, "height"),
        ({"height": 8}, "digest"),
        ({"surprise": 1}, "surprise"),
        ({"classes": ["road"]}, "19"),
        ({"shards": []}, "hold its"),
        ({"digest": "0" * 16}, "digest"),
        ({"cities": {}}, "hold its"),
    ],
)
def test_a_changed_manifest_is_refused_and_mended(
    cache: Cache, world: World, values: dict[str, object], words: str
) -> None:
    whole = (cache.path / "manifest.json").read_bytes()
    change(cache, **values)
    with pytest.raises(CacheError, match=words):
        open_cache(cache.path)
    import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)
    assert (cache.path / "manifest.json").read_bytes() == whole
