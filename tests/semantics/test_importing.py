"""Imports: both layouts, cut and continued, twice at once, and what broken sources get."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprdist import arrays
from vprdist.arrays import npz_header
from vprdist.data.layouts.msls import read_city
from vprdist.errors import CacheError
from vprdist.semantics.cache import open_cache
from vprdist.semantics.importing import import_cache
from vprdist.spec.vocabulary import CLASSES

from .conftest import COUNTS, SHARD_IMAGES, World, write_pngs, write_side
from .test_masks import slow_area

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from vprdist.semantics import building
from vprdist.semantics.importing import import_cache
source, root, out, kill_at, pause, held = sys.argv[1:]
def progress(done, total):
    print(done, flush=True)
    time.sleep(float(pause))
    if done == int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)
write, made = building.write_shard, []
def say(folder, file, *more):
    made.append(file)
    print("made", file, flush=True)
    if held == "held" and len(made) == 1:
        sys.stdin.readline()
    return write(folder, file, *more)
building.write_shard = say
import_cache(Path(source), Path(root), Path(out), shard_images=4, progress=progress)
"""


def start(
    world: World, out: Path, kill_at: int = -1, pause: float = 0.0, held: str = "free"
) -> subprocess.Popen[str]:  # fmt: skip
    """An importer; one that is `held` waits for a line in the midst of the first shard that it makes."""
    words = [sys.executable, "-c", SCRIPT, *map(str, (world.source, world.root, out, kill_at, pause, held))]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def go_on(builder: subprocess.Popen[str]) -> None:
    """Give it the line that it waits for."""
    assert builder.stdin is not None
    builder.stdin.write("\n")
    builder.stdin.flush()


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_a_killed_import_continues_to_the_same_bytes(world: World) -> None:
    import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)
    whole = contents(world.out)
    cut = world.out.with_name("cut")
    for kill_at in (1, 14, 30):
        process = start(world, cut, kill_at)
        assert process.wait(30) == -signal.SIGKILL
        with pytest.raises(CacheError, match="written last"):
            open_cache(cut)
    finished = {name: value for name, value in contents(cut).items() if name.endswith(".arrow")}
    assert 0 < len(finished) < len(COUNTS) * 6
    shard = next(iter(finished))
    (cut / shard).write_bytes(finished[shard][:-1] + b"?")  # a finished shard that a bad disk changed
    (cut / "shards" / f".{Path(shard).name}.0123abcd.tmp").write_bytes(b"half a shard")
    seen: list[int] = []
    import_cache(world.source, world.root, cut, shard_images=4, progress=lambda done, total: seen.append(done))
    assert contents(cut) == whole, "nothing more, nothing less"
    assert 0 < len(seen) < sum(COUNTS.values()), "only what was missing is made"
    assert seen[-1] == sum(COUNTS.values())


def test_kills_at_any_moment_do_no_harm(world: World) -> None:
    import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)
    cut = world.out.with_name("cut")
    for delay in (0.0, 0.013, 0.031):
        process = start(world, cut, pause=0.003)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
        process.wait(30)
    import_cache(world.source, world.root, cut, shard_images=SHARD_IMAGES)
    assert contents(cut) == contents(world.out)


def test_two_importers_at_once_do_no_harm(world: World) -> None:
    import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)
    both = world.out.with_name("both")
    processes = [start(world, both, held="held") for _ in range(2)]
    made = []
    for process in processes:  # both have begun one before any goes on, whoever starts late
        assert process.stdout is not None
        made.append(next(line for line in process.stdout if "shards/" in line).strip())
    for process in processes:
        go_on(process)
    for process in processes:
        made += [line for line in process.communicate(timeout=60)[0].splitlines() if "shards/" in line]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(made) == sorted(f"made {name}" for name in contents(both) if name.endswith(".arrow"))
    assert contents(both) == contents(world.out)


def test_a_complete_cache_is_left_alone(world: World) -> None:
    first = import_cache(world.source, world.root, world.out)
    times = {path: path.stat().st_mtime_ns for path in world.out.rglob("*.*")}
    again = import_cache(world.source, world.root, world.out, ["cph"], shard_images=3)
    assert again.digest == first.digest
    assert {path: path.stat().st_mtime_ns for path in world.out.rglob("*.*")} == times


def test_a_cache_grows_by_cities_and_follows_its_source(world: World) -> None:
    import_cache(world.source, world.root, world.out, ["amman"])
    grown = import_cache(world.source, world.root, world.out, ["cph"])
    assert list(grown.manifest.cities) == ["amman", "cph"]
    whole = import_cache(world.source, world.root, world.out.with_name("whole"))
    assert contents(grown.path) == contents(whole.path)
    changed = {key: 255 - value for key, value in world.truth["cph", "query"].items()}
    world.write_npz("cph", "query", changed, np.random.default_rng(5))
    after = import_cache(world.source, world.root, world.out)
    for key, value in changed.items():
        assert (after.activations("cph", "query", key) == value).all()
    assert after.digest != whole.digest
    assert len(list((world.out / "shards").iterdir())) == len(after.manifest.shards), "old shards are gone"
    key = next(iter(world.truth["cph", "query"]))
    with pytest.raises(CacheError, match=r"a shard of the manifest is missing"):
        grown.activations("cph", "query", key)  # a reader of the cache that was
    with pytest.raises(CacheError, match="one size, grid and segmenter"):
        import_cache(world.source, world.root, world.out, ["cph"], size=(3, 4))
    with pytest.raises(CacheError, match="the cache there must be of this segmenter, size and compression"):
        import_cache(world.source, world.root, world.out, size=(3, 4))
    with pytest.raises(CacheError, match=r"'imported', none\". Name another folder, or add --replace"):
        import_cache(world.source, world.root, world.out, segmenter="another")
    assert open_cache(world.out).digest == after.digest
    assert import_cache(world.source, world.root, world.out, size=(3, 4), replace=True).size == (3, 4)


def test_npz_of_another_size_is_averaged(world: World) -> None:
    cache = import_cache(world.source, world.root, world.out, ["cph"], size=(3, 4))
    key, activations = next(iter(world.truth["cph", "query"].items()))
    for plane, full in zip(cache.activations("cph", "query", key), activations, strict=True):
        assert (plane == slow_area(full, (3, 4))).all()


def test_pngs_are_halved_by_area(world: World, tmp_path: Path) -> None:
    pngs = tmp_path / "pngs"
    png_of(world, pngs)
    cache = import_cache(pngs, world.root, world.out, ["cph"])
    assert cache.size == (3, 4), "half of 7 x 9"
    for key, activations in list(world.truth["cph", "database"].items())[:2]:
        for plane, full in zip(cache.activations("cph", "database", key), activations, strict=True):
            assert (plane == slow_area(full, (3, 4))).all()
    same = import_cache(pngs, world.root, tmp_path / "full", ["cph"], size=(7, 9))
    assert same.digest == import_cache(world.source, world.root, tmp_path / "npz", ["cph"]).digest


def png_of(world: World, pngs: Path) -> Path:
    for side in ("query", "database"):
        for key, activations in world.truth["cph", side].items():
            write_pngs(pngs / "cph" / side / key, activations)
    return pngs / "cph" / "query" / next(iter(world.truth["cph", "query"])) / "traffic_sign.png"


@pytest.mark.parametrize("fault", ["missing", "cut", "colour", "size", "image"])
def test_broken_pngs_are_named(world: World, tmp_path: Path, fault: str) -> None:
    path = png_of(world, tmp_path / "pngs")
    if fault == "missing":
        path.unlink()
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif fault == "colour":
        Image.new("RGB", (9, 7)).save(path)
    elif fault == "size":
        Image.new("L", (8, 7)).save(path)
    else:
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()
    with pytest.raises(CacheError) as caught:
        import_cache(tmp_path / "pngs", world.root, world.out)
    assert str(path.parent if fault == "image" else path) in str(caught.value)
    assert not (world.out / "manifest.json").exists()


def rewrite(path: Path, **changes: np.ndarray) -> None:
    with np.load(path) as archive:
        values = {**archive, **changes}
    np.savez_compressed(path, **{name: value for name, value in values.items() if value.size})


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing file": (lambda p: p.unlink(), "no such file; the source must have one"),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:-200]), "whole .npz"),
    "flipped": (lambda p: p.write_bytes(flip(p.read_bytes(), 5000)), "whole .npz"),
    "no array": (lambda p: np.savez(p, keys=np.array(["a"])), "keys and activations"),
    "dtype": (lambda p: rewrite(p, activations=np.zeros((12, 19, 7, 9), np.float32)), "uint8"),
    "classes": (lambda p: rewrite(p, activations=np.zeros((12, 18, 7, 9), np.uint8)), "18, 7, 9"),
    "count": (lambda p: rewrite(p, activations=np.zeros((11, 19, 7, 9), np.uint8)), "one entry a key"),
    "size": (lambda p: rewrite(p, activations=np.zeros((12, 19, 8, 9), np.uint8)), "one size"),
    "twice": (lambda p: rewrite(p, keys=np.array(["a"] * 12)), "stands twice"),
    "missing key": (lambda p: rewrite(p, keys=np.array([f"k{i}" for i in range(12)])), "every key"),
    "objects": (lambda p: rewrite(p, keys=np.array([{}] * 12)), "whole .npz"),
}


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_npz_files_are_named(world: World, fault: str) -> None:
    path = world.source / "amman_query.npz"
    change, words = FAULTS[fault]
    change(path)
    with pytest.raises(CacheError, match=words) as caught:
        import_cache(world.source, world.root, world.out)
    assert (path.stem in str(caught.value)) or fault == "size"
    assert not (world.out / "manifest.json").exists()


def test_a_side_larger_than_the_memory_is_not_called_cut(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = max(npz_header(path, "activations").num_bytes for path in world.source.glob("*.npz"))
    monkeypatch.setattr(arrays, "usable_memory_gb", lambda: 0.8e-9 * largest)
    with pytest.raises(CacheError, match=r"must fit the memory; found .* 90% of .*more memory, or .* PNGs") as caught:
        import_cache(world.source, world.root, world.out)
    assert "cut" not in str(caught.value)
    monkeypatch.setattr(arrays, "usable_memory_gb", lambda: 1.3e-9 * largest)
    import_cache(world.source, world.root, world.out)  # more than half of the memory, and it fits


def test_sources_that_are_none_are_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CacheError, match="the source of a cache must be a folder"):
        import_cache(tmp_path / "nowhere", world.root, world.out)
    with pytest.raises(CacheError, match=r"<city>_<side>\.npz"):
        import_cache(tmp_path / "empty", world.root, world.out)
    with pytest.raises(CacheError, match="boston"):
        import_cache(world.source, world.root, world.out, ["boston"])
    write_side(tmp_path / "other", "zurich", "query", ["a"])
    with pytest.raises(CacheError, match="has no city of the data set"):
        import_cache(world.source, tmp_path / "other", world.out)
    assert not world.out.exists(), "nothing half-written"
    world.out.write_text("a file")
    with pytest.raises(CacheError, match="the cache must be a folder"):
        import_cache(world.source, world.root, world.out)


def test_a_full_disk_is_a_clear_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 9:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CacheError, match="No space left"):
        import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)
    monkeypatch.undo()
    assert not list(world.out.rglob("*.tmp"))
    import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES)
    import_cache(world.source, world.root, world.out.with_name("whole"), shard_images=SHARD_IMAGES)
    assert contents(world.out) == contents(world.out.with_name("whole"))


def test_real_pngs_of_lip6(shared_data: Path, tmp_path: Path) -> None:
    pngs = shared_data / "lip6_semantics" / "png_sample"
    if not pngs.is_dir():
        pytest.skip(f"no {pngs}")
    keys = sorted(path.name for path in (pngs / "lip6b" / "query").iterdir())
    source = tmp_path / "source" / "lip6b"
    source.mkdir(parents=True)
    for side in ("query", "database"):
        (source / side).symlink_to(pngs / "lip6b" / "query")
        write_side(tmp_path / "msls", "lip6b", side, keys)
    cache = import_cache(source.parent, tmp_path / "msls", tmp_path / "cache")
    assert cache.size == (96, 120)
    assert list(cache.keys("lip6b", "query")) == keys
    for key in keys[:3]:
        planes = [Image.open(pngs / "lip6b" / "query" / key / f"{c.replace(' ', '_')}.png") for c in CLASSES]
        full = np.stack([np.asarray(plane) for plane in planes]).astype(int)
        wanted = (full.reshape(19, 96, 2, 120, 2).sum(axis=(2, 4)) + 2) // 4
        assert (cache.activations("lip6b", "query", key) == wanted).all()
    with pytest.raises(CacheError, match="no such folder; the source must have one for every key"):
        import_cache(pngs, shared_data / "lip6", tmp_path / "part")
    assert len(read_city(shared_data / "lip6", "lip6b").query) > len(keys)
