"""A damaged cache gives a clear error, never wrong activations."""

from __future__ import annotations

import json
import multiprocessing
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vprdist.errors import CacheError
from vprdist.files import digest_file
from vprdist.semantics.cache import Cache, open_cache, verify
from vprdist.semantics.cache.blocks import buffer_at, find_blocks
from vprdist.semantics.cache.format import Compression, ShardEntry
from vprdist.semantics.cache.marks import shared_marks
from vprdist.semantics.cache.pixels import MappedPixels
from vprdist.semantics.cache.shard import MappedShard, frame_digest, map_file
from vprdist.semantics.importing import import_cache

from .conftest import COMPRESSIONS, SHARD_IMAGES, World


@pytest.fixture(params=COMPRESSIONS)
def cache(world: World, request: pytest.FixtureRequest) -> Cache:
    return import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES, compression=request.param)


def read_all(cache: Cache) -> None:
    for side in cache.manifest.sides:
        for key in cache.keys(side.city, side.side):
            cache.activations(side.city, side.side, key)


def again(cache: Cache, world: World, **more: Any) -> Cache:
    """Import as the cache was."""
    compression = cache.manifest.compression
    return import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES, compression=compression, **more)


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
    again(cache, world, progress=lambda done, total: made.append(done))
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
    path, entry, made = shard(cache), cache.manifest.shards[2], cache.manifest
    data = path.read_bytes()
    ((start, end),) = entry.pixels or [block.pixels for block in find_blocks(pa.py_buffer(data))]
    assert end - start < len(data) < end - start + 10_000
    for position in [*range(0, start, 5), *range(end, len(data), 5), start - 1, end]:
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x40]) + data[position + 1 :])
        with pytest.raises(CacheError, match=f"{path.name}: structure and keys"):
            MappedShard(cache.path, entry, cache.form, made.batch_images)


def without_sums(cache: Cache) -> None:
    """Make the shards those of a vprdist that noted no check sums of uncompressed classes; ids are the same."""
    entries = []
    for entry in cache.manifest.shards:
        path = cache.path / entry.file
        table = pa.ipc.open_file(path.read_bytes()).read_all()
        metadata = {key: value for key, value in table.schema.metadata.items() if key != b"vprdist.crc32"}
        assert len(metadata) == len(table.schema.metadata) - 1
        with pa.ipc.new_file(str(path), table.schema.with_metadata(metadata)) as writer:
            writer.write_table(table)
        entries.append(measured(path, entry))
    (cache.path / "manifest.json").write_text(cache.manifest.model_copy(update={"shards": tuple(entries)}).to_text())


@pytest.mark.parametrize("of_before", [False, True], ids=["with sums", "without sums"])
def test_what_one_worker_compared_is_not_compared_by_the_next(
    world: World, of_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every evaluation has workers of its own; once each of them read a cache without sums whole."""
    cache = import_cache(world.source, world.root, world.out, ["cph"], shard_images=SHARD_IMAGES)
    if of_before:
        without_sums(cache)
    fork = multiprocessing.get_context("fork")
    compared, check = fork.Value("i", 0), MappedPixels._check

    def counted(*args: Any) -> None:
        compared.value += 1
        check(*args)

    def compared_by_a_worker() -> int:
        compared.value = 0
        worker = fork.Process(target=read_all, args=(open_cache(cache.path),))
        worker.start()
        worker.join()
        assert worker.exitcode == 0
        return compared.value

    monkeypatch.setattr(MappedPixels, "_check", counted)
    assert compared_by_a_worker() == sum(entry.count for entry in cache.manifest.shards)
    assert compared_by_a_worker() == 0
    path = shard(cache, 0)
    path.write_bytes(path.read_bytes())
    assert compared_by_a_worker() > 0, "it was written over"


def measured(path: Path, entry: ShardEntry) -> ShardEntry:
    """What a manifest says of a shard as it lies there."""
    pages = map_file(path)
    spans = tuple(block.pixels for block in find_blocks(pages))
    facts = {"bytes": pages.size, "frame": frame_digest(pages, spans), "sha256": digest_file(path)}
    return entry.model_copy(update={**facts, "pixels": spans if entry.pixels else ()})


@pytest.mark.parametrize("of_before", [False, True], ids=["with sums", "without sums"])
def test_a_flipped_byte_of_an_uncompressed_class_is_found_when_it_is_first_read(world: World, of_before: bool) -> None:
    """Wherever it is: 77 of 261 flips were once read as if nothing had been."""
    cache = import_cache(world.source, world.root, world.out, ["cph"], shard_images=SHARD_IMAGES)
    if of_before:
        without_sums(cache)
    path = shard(cache, 0)
    data, random, found = path.read_bytes(), np.random.default_rng(0), list[str]()
    for position in random.integers(len(data), size=261).tolist():
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 << random.integers(8)]) + data[position + 1 :])
        shared_marks.cache_clear()  # two flips may lie within one tick of the file system's clock
        try:
            opened = open_cache(cache.path)
            for key, truth in world.truth["cph", "query"].items():
                assert (opened.activations("cph", "query", key) == truth).all(), "read silently"
        except CacheError as error:
            found.append(str(error))
    assert len(found) > 250, "all but those of the padding between columns"
    assert all(path.name in error and "vprdist cache import" in error for error in found)


@pytest.fixture(params=["lz4", "zstd"])
def compressed(make_world: Callable[..., World], request: pytest.FixtureRequest) -> tuple[Cache, World]:
    world = make_world("compressed", size=(72, 84))
    return import_cache(world.source, world.root, world.out, ["cph"], compression=request.param), world


def test_a_flipped_byte_of_a_compressed_class_is_found_when_it_is_read(compressed: tuple[Cache, World]) -> None:
    """Any byte: of the length, the frame's header, its blocks, its end."""
    cache, world = compressed
    path = shard(cache, 0)
    data = path.read_bytes()
    key = cache.keys("cph", "query")[0]
    block = find_blocks(pa.py_buffer(data))[0]
    stored = buffer_at(memoryview(data), block.table, block.body, 7)
    start = data.index(stored)
    for position in [*range(40), *range(40, len(stored), 97), *range(len(stored) - 9, len(stored))]:
        broken = bytearray(data)
        broken[start + position] ^= 0x10
        path.write_bytes(broken)
        opened = open_cache(cache.path)
        with pytest.raises(CacheError, match=f"{path.name}.*'traffic sign'.*check sum.*vprdist cache import"):
            opened.mask("cph", "query", key, ["traffic sign", "sky"], "sum")
        truth = world.truth["cph", "query"][key]
        assert (opened.activations("cph", "query", key, ["sky"]) == truth[[10]]).all()
    with pytest.raises(CacheError, match="SHA-256"):
        verify(cache.path)


def test_what_cannot_be_decompressed_is_an_error_even_where_its_check_sum_fits(
    compressed: tuple[Cache, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flip that CRC-32 would miss does not exist, so the sum is made to agree with everything."""
    cache, _ = compressed
    path = shard(cache, 0)
    data = path.read_bytes()
    key = cache.keys("cph", "query")[0]
    block = find_blocks(pa.py_buffer(data))[0]
    start = data.index(buffer_at(memoryview(data), block.table, block.body, 7))

    class Agrees(int):
        __hash__ = None
        __eq__ = lambda self, other: True  # noqa: E731
        __ne__ = lambda self, other: False  # noqa: E731

    monkeypatch.setattr("vprdist.semantics.cache.pixels.zlib.crc32", lambda stored: Agrees())
    for position, words in ((8, "decompressed"), (0, "it was written with"), (12, "decompressed")):
        broken = bytearray(data)
        broken[start + position] ^= 0x11
        path.write_bytes(broken)
        with pytest.raises(CacheError, match=f"{path.name}.*'traffic sign'.*{words}.*vprdist cache import"):
            open_cache(cache.path).mask("cph", "query", key, ["traffic sign"], "sum")


def test_random_damage_never_gives_wrong_activations(compressed: tuple[Cache, World]) -> None:
    """Runs of changed bytes anywhere in a compressed shard: an error, or what was written."""
    cache, world = compressed
    path = shard(cache, 0)
    data = path.read_bytes()
    random, errors = np.random.default_rng(0), list[str]()
    for _ in range(60):
        start, length = int(random.integers(len(data))), int(random.integers(1, 2000))
        broken = bytearray(data)
        part = broken[start : start + length]
        broken[start : start + length] = random.bytes(len(part))
        path.write_bytes(broken)
        try:
            opened = open_cache(cache.path)
            for key, truth in world.truth["cph", "query"].items():
                assert (opened.activations("cph", "query", key) == truth).all()
        except CacheError as error:
            errors.append(str(error))
    assert len(errors) > 50
    assert all(path.name in error for error in errors)


def test_what_a_stranger_wrote_is_refused_before_anything_is_allocated(compressed: tuple[Cache, World]) -> None:
    """The manifest agrees with its shard, and a few bytes of it say that they become a terabyte of keys."""
    cache, _ = compressed
    path, entry = shard(cache, 0), cache.manifest.shards[0]
    data = bytearray(path.read_bytes())
    block = find_blocks(pa.py_buffer(bytes(data)))[0]
    (offset,) = struct.unpack_from("<q", data, block.table - 16 * 11)  # the offsets of the keys
    struct.pack_into("<q", data, block.body + offset, 2**40)
    path.write_bytes(data)
    agreeing = entry.model_copy(update={"frame": frame_digest(map_file(path), [block.pixels])})
    made = cache.manifest
    with pytest.raises(CacheError, match=f"{path.name}.*says that it has {2**40} bytes"):
        MappedShard(cache.path, agreeing, cache.form, made.batch_images)
    change(cache, batch_images=10**9)
    with pytest.raises(CacheError, match="a batch of a compressed shard must have 16777216 bytes a class at most"):
        open_cache(cache.path)


def test_a_column_of_another_kind_is_refused_before_pyarrow_reads_it(world: World) -> None:
    """Dictionaries, extensions: whatever pyarrow would make of them."""
    cache = import_cache(world.source, world.root, world.out, ["cph"])
    path, entry = shard(cache, 0), cache.manifest.shards[0]
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    other = table.set_column(1, "city", table.column("city").cast(pa.large_utf8()))
    with pa.ipc.new_file(str(path), other.schema.with_metadata(table.schema.metadata)) as writer:
        writer.write_table(other)
    with pytest.raises(CacheError, match=f"{path.name}.*columns before the classes must be.*large_string"):
        MappedShard(cache.path, measured(path, entry), cache.form, cache.manifest.batch_images)


@pytest.mark.parametrize(("made", "said"), [("lz4", "zstd"), ("zstd", "lz4"), ("none", "lz4"), ("lz4", "none")])
def test_a_shard_under_a_manifest_that_says_another_compression(
    world: World, made: Compression, said: Compression
) -> None:
    cache = import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES, compression=made)
    change(cache, compression=said)
    if "none" in (made, said):
        with pytest.raises(CacheError, match=rf"compression {said} and a grid of cells need version"):
            open_cache(cache.path)
        change(cache, version=1 if said == "none" else 2)
    with pytest.raises(
        CacheError, match=rf"arrow.*the shard's compression must be the manifest's, {said}; found '{made}'"
    ):
        read_all(open_cache(cache.path))


def test_a_reader_during_rebuilds_sees_the_truth_or_an_error(world: World) -> None:
    """Caches of other compressions and other activations are published over the one that is read."""
    import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)
    truth = world.truth["amman", "query"]
    changed = {key: 255 - value for key, value in truth.items()}
    allowed = {key: {truth[key].tobytes(), changed[key].tobytes()} for key in truth}
    done, seen, errors = threading.Event(), set[bytes](), list[str]()

    def read() -> None:
        while not done.is_set():
            try:
                cache = open_cache(world.out)
                for _ in range(3):
                    found = {key: cache.activations("amman", "query", key).tobytes() for key in truth}
                    assert all(value in allowed[key] for key, value in found.items())
                    assert len({value == truth[key].tobytes() for key, value in found.items()}) == 1, "one cache's"
                    seen.add(found[next(iter(truth))])
            except CacheError as error:
                errors.append(str(error))
            except AssertionError as error:
                errors.append(f"wrong: {error}")

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(12):
            values = (truth, changed)[number // 3 % 2]
            world.write_npz("amman", "query", values, np.random.default_rng(1))
            how = {"shard_images": SHARD_IMAGES, "compression": COMPRESSIONS[number % 3], "replace": True}
            import_cache(world.source, world.root, world.out, **how)
    finally:
        done.set()
        thread.join()
    assert not [error for error in errors if "wrong" in error]
    assert all("missing" in error or "cut" in error for error in errors)
    assert len(seen) == 2, "it read both"


def test_a_shard_of_another_data_set(cache: Cache, make_world: Callable[..., World]) -> None:
    other = make_world("other", seed=0)
    (other.root / "train_val/amman/query/images/new.jpg").write_bytes(b"one more")
    foreign = again(cache, other)
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
        with pytest.raises(CacheError, match=r"a cache must be a folder with a manifest\.json"):
            open_cache(path)
    (tmp_path / "manifest.json").write_text('{"format": "something else"}')
    with pytest.raises(CacheError, match="format must be"):
        open_cache(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "vpr')
    with pytest.raises(CacheError, match="readable JSON"):
        open_cache(tmp_path)


def test_a_manifest_that_is_nested_without_end_or_no_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text("[" * 10**5)
    with pytest.raises(CacheError, match="readable JSON"):
        open_cache(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CacheError, match="a named pipe lies where a file should"):
        open_cache(tmp_path)


def change(cache: Cache, **values: object) -> None:
    path = cache.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("file", ["../../x.arrow", "/tmp/x.arrow", "shards/../x.arrow", "shards/", "x.arrow"])
def test_a_shard_lies_in_its_folder(cache: Cache, file: str) -> None:
    manifest = json.loads(cache.manifest.model_dump_json())
    manifest["shards"][1]["file"] = file
    change(cache, **manifest)
    with pytest.raises(CacheError, match=r"a shard must be a file of the folder shards; found") as caught:
        open_cache(cache.path)
    assert caught.value.value == file


def test_a_city_of_a_manifest_is_a_name(cache: Cache) -> None:
    change(cache, cities={**cache.manifest.cities, "../../x": "0" * 16})
    with pytest.raises(CacheError, match=r"a city must be a name, not a path; found '../../x'"):
        open_cache(cache.path)


def test_a_newer_version_is_neither_read_nor_overwritten(cache: Cache, world: World) -> None:
    change(cache, version=5, surprise="field")
    with pytest.raises(CacheError, match=r"must be of version 4 at most .*; found 5"):
        open_cache(cache.path)
    with pytest.raises(CacheError, match=r"must be of version 4 at most .*; found 5"):
        again(cache, world)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"height": 0}, "height"),
        ({"height": 10**9}, "33554432 points"),
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
    again(cache, world)
    assert (cache.path / "manifest.json").read_bytes() == whole
