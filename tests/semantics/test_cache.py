"""The cache gives back what went in, from the pages it needs, in any process."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import multiprocessing
import pickle
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vprdist.data.layouts.msls import city_digest, read_city
from vprdist.errors import CacheError
from vprdist.semantics import masks
from vprdist.semantics.cache import Cache, open_cache, verify
from vprdist.semantics.cache.blocks import buffer_at, find_blocks
from vprdist.semantics.cache.form import Form
from vprdist.semantics.cache.format import Compression
from vprdist.semantics.cache.shard import frame_digest, map_file
from vprdist.semantics.cache.writer import write_shard
from vprdist.semantics.importing import import_cache
from vprdist.semantics.masks import full_level
from vprdist.spec.vocabulary import CLASSES, STATIC_CLASSES, MaskReduce

from .conftest import COMPRESSIONS, SHARD_IMAGES, SIZE, World


@pytest.fixture(params=COMPRESSIONS)
def cache(world: World, request: pytest.FixtureRequest) -> Cache:
    return import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES, compression=request.param)


@pytest.fixture
def plain(world: World) -> Cache:
    return import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)


def test_every_image_comes_back(cache: Cache, world: World) -> None:
    assert cache.size == SIZE
    for (city, side), images in world.truth.items():
        assert list(cache.keys(city, side)) == list(images), "in CSV order"
        for key, activations in images.items():
            assert (cache.activations(city, side, key) == activations).all()
            for some in (["bicycle", "road", "traffic light"], ["wall", "sky"], ["car", "car"], ["train"], []):
                wanted = activations[[CLASSES.index(name) for name in some]]
                assert (cache.activations(city, side, key, some) == wanted).all()
                views = cache.views(city, side, key, some)
                assert len(views) == len(some) and all((v == w).all() for v, w in zip(views, wanted, strict=True))
            wanted = activations[:10].astype(float).sum(axis=0) / 2550
            assert np.allclose(cache.mask(city, side, key, STATIC_CLASSES, "mean"), wanted, atol=1e-6)


def test_the_page_in_the_docstring_is_enough_to_read_a_shard(cache: Cache, world: World) -> None:
    content = hashlib.sha256()
    for entry in [e for e in cache.manifest.shards if (e.city, e.side) == ("amman", "database")]:
        assert hashlib.sha256((cache.path / entry.file).read_bytes()).hexdigest() == entry.sha256
        table = pa.ipc.open_file((cache.path / entry.file).read_bytes()).read_all()
        assert table.column_names == ["key", "city", "side", "sha256", *CLASSES]
        for row in table.to_pylist():
            truth = world.truth["amman", "database"][row["key"]]
            assert row["sha256"] == hashlib.sha256(truth.tobytes()).digest()
            for name, plane in zip(CLASSES, truth, strict=True):
                assert row[name] == plane.tobytes()
            content.update(row["key"].encode() + b"\0" + row["sha256"])
    assert content.hexdigest() in [side.content for side in cache.manifest.sides]


def test_views_are_the_files_own_pages(plain: Cache) -> None:
    cache, key = plain, plain.keys("cph", "query")[0]
    (view,) = cache.views("cph", "query", key, ["sky"])
    assert not view.flags.writeable
    assert not view.flags.owndata


def test_a_mask_touches_only_the_pages_of_its_classes(tmp_path: Path, make_world: Callable[..., World]) -> None:
    # 23 images of 96 x 128 in one shard: 276 KiB a class, far more than the kernel maps around a fault.
    world = make_world("large", size=(96, 128))
    cache = import_cache(world.source, world.root, world.out)
    entry = next(e for e in cache.manifest.shards if (e.city, e.side) == ("amman", "database"))
    for key in cache.keys("amman", "database"):
        cache.mask("amman", "database", key, ["fence", "car"], "sum")
    text = Path("/proc/self/smaps").read_text()
    match = re.search(re.escape(Path(entry.file).name) + r"\n(?:.*\n)*?Rss:\s+(\d+) kB", text)
    assert match, "the shard is memory-mapped"
    assert int(match.group(1)) * 1024 < entry.bytes / 3


def test_open_shards_hold_no_file_descriptors(cache: Cache) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for side in cache.manifest.sides:
        cache.keys(side.city, side.side)
    # Fewer, where others' objects are collected meanwhile.
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def checksum(cache: Cache) -> str:
    digest = hashlib.sha256()
    for side in cache.manifest.sides:
        for key in cache.keys(side.city, side.side):
            digest.update(cache.mask(side.city, side.side, key, STATIC_CLASSES, "max").tobytes())
    return digest.hexdigest()


def test_a_pickled_cache_maps_for_itself(cache: Cache) -> None:
    wanted = checksum(cache)
    packed = pickle.dumps(cache)
    assert len(packed) < 20_000, "no map and no activations travel"
    assert checksum(pickle.loads(packed)) == wanted


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_the_same(cache: Cache, method: str) -> None:
    wanted = checksum(cache)  # a forked worker inherits open shards, a spawned one none
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(checksum, [cache] * 3) == [wanted] * 3


def test_the_digest_is_of_content_alone(world: World, plain: Cache, make_world: Callable[..., World]) -> None:
    cache = plain
    for compression in ("lz4", "zstd"):
        out = world.out.with_name(compression)
        assert import_cache(world.source, world.root, out, compression=compression).digest == cache.digest
    other = import_cache(world.source, world.root, world.out.with_name("b"), segmenter="x", shard_images=100)
    assert other.digest == cache.digest, "neither path, nor shard size, nor a label"
    assert open_cache(cache.path).digest == cache.digest
    part = import_cache(world.source, world.root, world.out.with_name("c"), ["cph"])
    assert part.digest == cache.manifest.digest_of(["cph"]) != cache.digest
    assert verify(cache.path).digest == cache.digest
    changed = make_world("changed", seed=1)
    assert import_cache(changed.source, changed.root, changed.out).digest != cache.digest


def test_covers_says_which_city_is_wrong(cache: Cache, world: World) -> None:
    digests = {city: city_digest(world.root, city) for city in ("amman", "cph")}
    cache.covers(digests)
    cache.covers({"cph": digests["cph"]})
    with pytest.raises(CacheError, match=r"boston.*vprdist cache import"):
        cache.covers({**digests, "boston": "0" * 16})
    with pytest.raises(CacheError, match=f"cph.*{digests['cph']}.*{'0' * 16}.*vprdist cache import"):
        cache.covers({"cph": "0" * 16})


def test_unknown_names_are_refused(cache: Cache) -> None:
    with pytest.raises(CacheError, match=r"the cache lacks a key of amman/query: 'nobody'"):
        cache.mask("amman", "query", "nobody", ["road"], "sum")
    with pytest.raises(CacheError, match="ammann/query"):
        cache.mask("ammann", "query", "nobody", ["road"], "sum")
    with pytest.raises(CacheError, match="Did you mean 'road'"):
        cache.mask("amman", "query", cache.keys("amman", "query")[0], ["raod"], "sum")


def pixels_of(pages: pa.Buffer) -> tuple[tuple[int, int], ...]:
    return tuple(block.pixels for block in find_blocks(pages))


def test_uncompressed_shards_of_several_batches_are_read(world: World, plain: Cache) -> None:
    """The format allows them; the reader must know them."""
    cache = plain
    for entry in cache.manifest.shards:
        path = cache.path / entry.file
        table = pa.ipc.open_file(path.read_bytes()).read_all()
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    shards = []
    for entry in cache.manifest.shards:
        pages = map_file(cache.path / entry.file)
        spans = pixels_of(pages)
        measured = {"bytes": pages.size, "pixels": spans, "frame": frame_digest(pages, spans)}
        shards.append(entry.model_copy(update=measured))
    again = Cache(cache.path, cache.manifest.model_copy(update={"shards": tuple(shards), "batch_images": 3}))
    for key, activations in world.truth["amman", "database"].items():
        assert (again.activations("amman", "database", key) == activations).all()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_equal_activations_make_equal_bytes(tmp_path: Path, compression: Compression) -> None:
    values = np.random.default_rng(0).integers(0, 256, (19, 3, 5, 7)).astype(np.uint8)
    what = ("0" * 16, "amman", "query", 0, ["a", "b", "c"], values, Form((5, 7), compression))
    one, two = (write_shard(tmp_path, name, *what) for name in "12")
    assert one.sha256 == two.sha256


def test_uncompressed_caches_are_as_before_there_was_a_choice(plain: Cache) -> None:
    """Shard ids, and with them file names, from a vprdist that knew no compression."""
    assert plain.manifest.version == 1
    assert plain.manifest.shards[0].id == "a4c96e7496edc673"
    assert plain.digest == "f15a3c378fcc6393"


@pytest.fixture(params=["lz4", "zstd"])
def batched(tmp_path: Path, make_world: Callable[..., World], request: pytest.FixtureRequest) -> tuple[Cache, World]:
    """Images of which two make a batch, in shards of seven: the last batch of each is shorter."""
    world = make_world("batched", size=(72, 84))
    cache = import_cache(world.source, world.root, world.out, shard_images=7, compression=request.param)
    assert cache.manifest.batch_images == 2
    return cache, world


def test_compressed_shards_of_several_batches_are_read(batched: tuple[Cache, World]) -> None:
    cache, world = batched
    for (city, side), images in world.truth.items():
        for key, activations in images.items():
            assert (cache.activations(city, side, key) == activations).all()
    assert verify(cache.path).digest == cache.digest


def test_any_arrow_reader_reads_a_compressed_shard(batched: tuple[Cache, World]) -> None:
    """And finds the table of the uncompressed one; by the names and types alone, as a stranger would."""
    cache, world = batched
    plain = import_cache(world.source, world.root, world.out.with_name("plain"), shard_images=7)
    for entry, other in zip(cache.manifest.shards, plain.manifest.shards, strict=True):
        table = pa.ipc.open_file(str(cache.path / entry.file)).read_all()
        assert table.equals(pa.ipc.open_file(str(plain.path / other.file)).read_all())
        assert json.loads(table.schema.metadata[b"vprdist.keys"]) == table.column("key").to_pylist()


def test_the_page_in_the_docstring_is_enough_to_check_compressed_bytes(batched: tuple[Cache, World]) -> None:
    """Every buffer is found in the file by compressing the class anew, and its check sum is the one listed."""
    cache, world = batched
    entry = cache.manifest.shards[0]
    data = (cache.path / entry.file).read_bytes()
    table = pa.ipc.open_file(data).read_all()
    sums = np.frombuffer(base64.b64decode(table.schema.metadata[b"vprdist.crc32"]), "<u4").reshape(-1, len(CLASSES))
    assert len(sums) == 4, "seven images by two"
    for batch, channel in itertools.product(range(4), range(len(CLASSES))):
        raw = b"".join(table.column(CLASSES[channel]).to_pylist()[2 * batch : 2 * batch + 2])
        frame = pa.Codec(cache.manifest.compression, 6).compress(raw, asbytes=True)
        stored = len(raw).to_bytes(8, "little") + frame
        assert stored in data
        assert zlib.crc32(stored) == sums[batch, channel]
    assert len(data) < 0.9 * sum(len(raw) for raw in world.truth["amman", "query"].values()) * 72 * 84


def test_a_compressed_mask_reads_its_classes_alone(batched: tuple[Cache, World]) -> None:
    """Whatever the other classes' bytes have become."""
    cache, world = batched
    keys = cache.keys("amman", "query")
    for entry in (e for e in cache.manifest.shards if (e.city, e.side) == ("amman", "query")):
        path = cache.path / entry.file
        data = bytearray(path.read_bytes())
        for block in find_blocks(pa.py_buffer(bytes(data))):
            for channel in set(range(len(CLASSES))) - {4, 13}:
                stored = buffer_at(memoryview(data), block.table, block.body, channel)
                stored[:] = bytes(len(stored))
        path.write_bytes(data)
    damaged = open_cache(cache.path)
    for key in keys:
        truth = world.truth["amman", "query"][key][[4, 13]]
        assert (
            damaged.mask("amman", "query", key, ["fence", "car"], "max") == truth.max(axis=0) / np.float32(255)
        ).all()
        with pytest.raises(CacheError, match="'road'"):
            damaged.mask("amman", "query", key, ["fence", "road"], "max")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("reduce", ["mean", "sum", "max"])
def test_masks_of_likelihoods_are_those_of_a_slow_recomputation(
    make_world: Callable[..., World], compression: Compression, reduce: MaskReduce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activations that sum to 250 to 258, as real ones: large masks are then added in bytes."""
    monkeypatch.setattr(masks, "NARROW_PIXELS", 1)
    world = make_world("soft")
    random = np.random.default_rng(0)
    for (city, side), images in world.truth.items():
        for key in images:
            scores = random.gamma(0.1, size=(19, *SIZE))
            images[key] = np.round(255 * scores / scores.sum(axis=0)).astype(np.uint8)
        world.write_npz(city, side, images, random)
    cache = import_cache(world.source, world.root, world.out, compression=compression)
    tops = [image.sum(axis=0, dtype=int).max() for images in world.truth.values() for image in images.values()]
    peaks = {shard.peak for shard, _ in cache._side("cph", "query").values()}
    assert len(peaks) == 1 and 255 < max(peaks) <= max(tops) < 262
    for classes in (STATIC_CLASSES, CLASSES, ["sky"], ["car", "road", "bus"], CLASSES[:18], ["car", "car", "car"]):
        for key, image in world.truth["cph", "query"].items():
            chosen = image[[CLASSES.index(name) for name in classes]].astype(int)
            total = chosen.max(axis=0) if reduce == "max" else chosen.sum(axis=0)
            total = np.minimum(total, 255) if reduce == "sum" else total
            wanted = total.astype(np.float32) / np.float32(255 * len(classes) if reduce == "mean" else 255)
            assert cache.mask("cph", "query", key, classes, reduce).tobytes() == wanted.tobytes()


def test_shards_without_a_peak_are_read(world: World, plain: Cache) -> None:
    """As a vprdist made them that did not note it: ids and all else are the same."""
    entries = []
    for entry in plain.manifest.shards:
        path = plain.path / entry.file
        table = pa.ipc.open_file(path.read_bytes()).read_all()
        metadata = {key: value for key, value in table.schema.metadata.items() if key != b"vprdist.peak"}
        assert len(metadata) == len(table.schema.metadata) - 1
        with pa.ipc.new_file(str(path), table.schema.with_metadata(metadata)) as writer:
            writer.write_table(table)
        pages = map_file(path)
        measured = {"bytes": pages.size, "pixels": pixels_of(pages), "frame": frame_digest(pages, pixels_of(pages))}
        entries.append(entry.model_copy(update=measured))
    old = Cache(plain.path, plain.manifest.model_copy(update={"shards": tuple(entries)}))
    for key, activations in world.truth["amman", "database"].items():
        wanted = activations[:10].sum(axis=0, dtype=int).astype(np.float32) / np.float32(2550)
        assert (old.mask("amman", "database", key, STATIC_CLASSES, "mean") == wanted).all()


@pytest.mark.parametrize("reduce", ["mean", "sum", "max"])
def test_levels_divided_elsewhere_are_the_mask_bit_for_bit(cache: Cache, reduce: MaskReduce) -> None:
    import torch  # here, so that spawned readers need not wait for it

    for classes in (STATIC_CLASSES, ["sky"], ["car", "road", "bus"], CLASSES):
        for key in cache.keys("cph", "database"):
            levels = cache.levels("cph", "database", key, classes, reduce)
            assert levels.dtype == (np.int16 if reduce == "mean" else np.uint8)
            on_device = torch.from_numpy(levels).to(torch.float32) / full_level(len(classes), reduce)
            mask = cache.mask("cph", "database", key, classes, reduce)
            assert on_device.numpy().tobytes() == mask.tobytes()


def test_real_activations_of_lip6(shared_data: Path, tmp_path: Path) -> None:
    source, root = shared_data / "lip6_semantics", shared_data / "lip6"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    cache = import_cache(source, root, tmp_path / "cache", ["lip6b"])
    city = read_city(root, "lip6b")
    for side in city.sides:
        with np.load(source / f"lip6b_{side.side}.npz") as archive:
            stored = dict(zip(archive["keys"].tolist(), archive["activations"], strict=True))
        for key in side.keys.tolist():
            assert (cache.activations("lip6b", side.side, key) == stored[key]).all()
        mean = cache.mask("lip6b", side.side, key, STATIC_CLASSES, "mean")
        assert 0 < 255 * mean.max() <= 26
    cache.covers({"lip6b": city_digest(root, "lip6b")})
