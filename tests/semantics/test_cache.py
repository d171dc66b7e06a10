"""The cache gives back what went in, from the pages it needs, in any process."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vprdist.data.msls import city_digest, read_city
from vprdist.errors import CacheError
from vprdist.semantics.cache import Cache, open_cache, verify
from vprdist.semantics.cache.shard import frame_digest, map_file, pixel_spans
from vprdist.semantics.cache.writer import write_shard
from vprdist.semantics.importing import import_cache
from vprdist.spec.vocabulary import CLASSES, STATIC_CLASSES

from .conftest import SHARD_IMAGES, SIZE, World


@pytest.fixture
def cache(world: World) -> Cache:
    return import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)


def test_every_image_comes_back(cache: Cache, world: World) -> None:
    assert cache.size == SIZE
    for (city, side), images in world.truth.items():
        assert list(cache.keys(city, side)) == list(images), "in CSV order"
        for key, activations in images.items():
            assert (cache.activations(city, side, key) == activations).all()
            some = ["bicycle", "road", "traffic light"]
            found = cache.activations(city, side, key, some)
            assert (found == activations[[CLASSES.index(name) for name in some]]).all()
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


def test_views_are_the_files_own_pages(cache: Cache, world: World) -> None:
    key = cache.keys("cph", "query")[0]
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
    assert len(list(Path("/proc/self/fd").iterdir())) == before


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
    wanted = checksum(cache)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(checksum, [cache] * 3) == [wanted] * 3


def test_the_digest_is_of_content_alone(world: World, cache: Cache, make_world: Callable[..., World]) -> None:
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
    with pytest.raises(CacheError, match=r"every key of amman/query; found 'nobody'"):
        cache.mask("amman", "query", "nobody", ["road"], "sum")
    with pytest.raises(CacheError, match="ammann/query"):
        cache.mask("ammann", "query", "nobody", ["road"], "sum")
    with pytest.raises(CacheError, match="Did you mean 'road'"):
        cache.mask("amman", "query", cache.keys("amman", "query")[0], ["raod"], "sum")


def test_shards_of_several_batches_are_read(tmp_path: Path, world: World, cache: Cache) -> None:
    """The format allows smaller batches (a compressed cache will want them); the reader must know them."""
    for entry in cache.manifest.shards:
        path = cache.path / entry.file
        table = pa.ipc.open_file(path.read_bytes()).read_all()
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    shards = []
    for entry in cache.manifest.shards:
        pages = map_file(cache.path / entry.file)
        spans = pixel_spans(pages)
        measured = {"bytes": pages.size, "pixels": spans, "frame": frame_digest(pages, spans)}
        shards.append(entry.model_copy(update=measured))
    again = Cache(cache.path, cache.manifest.model_copy(update={"shards": tuple(shards), "batch_images": 3}))
    for key, activations in world.truth["amman", "database"].items():
        assert (again.activations("amman", "database", key) == activations).all()


def test_equal_activations_make_equal_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (19, 3, 5, 7)).astype(np.uint8)
    one, two = (write_shard(tmp_path, name, "0" * 16, "amman", "query", 0, ["a", "b", "c"], values) for name in "12")
    assert one.sha256 == two.sha256


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
