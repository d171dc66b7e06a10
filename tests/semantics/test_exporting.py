"""Exports: what comes out is what is in the cache, and comes in again as it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprdist.errors import CacheError
from vprdist.semantics.cache import Cache
from vprdist.semantics.exporting import export_npz, export_png
from vprdist.semantics.importing import import_cache
from vprdist.spec.vocabulary import CLASSES

from .conftest import COMPRESSIONS, COUNTS, SHARD_IMAGES, SIZE, World
from .test_masks import slow_area

SCRIPT = """
import os, signal, sys
from pathlib import Path
from vprdist.semantics.exporting import export_png
def progress(done, total):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
export_png(Path(sys.argv[1]), Path(sys.argv[2]), progress=progress)
"""


@pytest.fixture(params=COMPRESSIONS)
def cache(world: World, request: pytest.FixtureRequest) -> Cache:
    return import_cache(world.source, world.root, world.out, shard_images=SHARD_IMAGES, compression=request.param)


def plane(folder: Path, name: str) -> np.ndarray:
    image = Image.open(folder / f"{name.replace(' ', '_')}.png")
    assert image.mode == "L"
    return np.asarray(image)


def test_pngs_are_the_activations_and_come_in_again(cache: Cache, world: World, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert export_png(cache.path, tmp_path / "png", progress=lambda *at: seen.append(at)) == sum(COUNTS.values())
    assert seen == [(done, sum(COUNTS.values())) for done in range(1, sum(COUNTS.values()) + 1)]
    for (city, side), images in world.truth.items():
        for key, activations in images.items():
            folder = tmp_path / "png" / city / side / key
            assert len(list(folder.iterdir())) == len(CLASSES)
            for name, truth in zip(CLASSES, activations, strict=True):
                assert (plane(folder, name) == truth).all()
    again = import_cache(tmp_path / "png", world.root, tmp_path / "again", size=cache.size)
    assert again.digest == cache.digest


def test_npz_comes_in_again(cache: Cache, world: World, tmp_path: Path) -> None:
    seen: list[int] = []
    assert export_npz(cache.path, tmp_path / "npz", progress=lambda done, total: seen.append(done)) == max(seen)
    with np.load(tmp_path / "npz" / "cph_query.npz") as archive:
        stored = dict(zip(archive["keys"].tolist(), archive["activations"], strict=True))
    assert all((stored[key] == truth).all() for key, truth in world.truth["cph", "query"].items())
    assert import_cache(tmp_path / "npz", world.root, tmp_path / "again").digest == cache.digest
    before = {path: path.stat().st_ino for path in (tmp_path / "npz").iterdir()}
    (tmp_path / "npz" / "cph_query.npz").unlink()
    export_npz(cache.path, tmp_path / "npz")
    after = {path: path.stat().st_ino for path in (tmp_path / "npz").iterdir()}
    assert [path.name for path in before if before[path] != after[path]] in (["cph_query.npz"], [])
    assert set(after) == set(before)


def test_another_size(cache: Cache, world: World, tmp_path: Path) -> None:
    export_png(cache.path, tmp_path / "large", size=(14, 27))
    export_png(cache.path, tmp_path / "small", size=(3, 4))
    key, activations = next(iter(world.truth["cph", "query"].items()))
    for name, truth in zip(CLASSES, activations, strict=True):
        large = plane(tmp_path / "large" / "cph" / "query" / key, name)
        assert large.shape == (14, 27)
        for y, x in ((0, 0), (5, 13), (13, 26), (6, 8)):
            assert abs(int(large[y, x]) - bilinear(truth, (y + 0.5) * SIZE[0] / 14, (x + 0.5) * SIZE[1] / 27)) <= 1.5
        assert (plane(tmp_path / "small" / "cph" / "query" / key, name) == slow_area(truth, (3, 4))).all()


def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    """At a point, in units of pixels from the corner; edges are repeated."""
    total = 0.0
    for i in range(plane.shape[0] + 2):
        for j in range(plane.shape[1] + 2):
            weight = max(0.0, 1 - abs(i - 0.5 - y)) * max(0.0, 1 - abs(j - 0.5 - x))
            total += weight * plane[min(max(i - 1, 0), plane.shape[0] - 1), min(max(j - 1, 0), plane.shape[1] - 1)]
    return total


def test_a_killed_export_goes_on(world: World, tmp_path: Path) -> None:
    cache = import_cache(world.source, world.root, world.out)
    out = tmp_path / "png"
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(cache.path), str(out), "9"], check=False)
    assert done.returncode == -signal.SIGKILL
    half = out / "amman" / "query" / ".half.0123abcd.tmp"
    half.mkdir()
    there = {path: path.stat().st_ino for path in out.glob("*/*/*/*.png")}
    assert len(there) == 9 * len(CLASSES)
    export_png(cache.path, out)
    half.rmdir()
    assert all(path.stat().st_ino == number for path, number in there.items()), "finished images are kept"
    assert import_cache(out, world.root, tmp_path / "again", size=cache.size).digest == cache.digest


def test_an_export_never_mixes_with_another(world: World, tmp_path: Path) -> None:
    cache = import_cache(world.source, world.root, world.out)
    export_png(cache.path, tmp_path / "png")
    with pytest.raises(CacheError, match=r"size.*Choose another folder"):
        export_png(cache.path, tmp_path / "png", size=(14, 18))
    with pytest.raises(CacheError, match="must hold the export"):
        export_npz(cache.path, tmp_path / "png")
    with pytest.raises(CacheError, match="must begin in an empty folder"):
        export_png(cache.path, world.root)
    for size in ((0, 18), (-3, 18)):
        with pytest.raises(CacheError, match="at least one pixel"):
            export_png(cache.path, tmp_path / "nothing", size=size)
        assert not (tmp_path / "nothing").exists(), "a note would keep the folder from the size that was meant"
    (tmp_path / "file").write_text("x")
    with pytest.raises(CacheError, match="an export must be a folder"):
        export_png(cache.path, tmp_path / "file")


@pytest.mark.parametrize("export", [export_png, export_npz])
def test_a_key_that_is_a_path_leaves_the_folder_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: Callable[[Path, Path], int]
) -> None:
    cache = import_cache(world.source, world.root, world.out)
    monkeypatch.setattr(Cache, "keys", lambda *which: ("good", "../../../away"))
    with pytest.raises(CacheError, match=r"a key of .* must be a name, not a path; found '../../../away'"):
        export(cache.path, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["export.json"]


def test_a_full_disk_is_a_clear_error(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = import_cache(world.source, world.root, world.out)
    real, calls = Image.Image.save, []

    def full(image: Image.Image, path: Path) -> None:
        calls.append(path)
        if len(calls) == 30:
            raise OSError(28, "No space left on device")
        real(image, path)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(CacheError, match="No space left"):
        export_png(cache.path, tmp_path / "png")
    monkeypatch.undo()
    assert not list((tmp_path / "png").rglob("*.tmp"))
    export_png(cache.path, tmp_path / "png")
    assert import_cache(tmp_path / "png", world.root, tmp_path / "again", size=cache.size).digest == cache.digest


def test_shares_are_the_mean_activations(cache: Cache, world: World) -> None:
    shares, count = cache.mean_shares(1000)
    assert count == sum(COUNTS.values())
    every = np.stack([image for images in world.truth.values() for image in images.values()])
    wanted = every.astype(float).mean(axis=(0, 2, 3)) / 255
    assert np.allclose([shares[name] for name in CLASSES], wanted)
    assert cache.mean_shares(10)[1] <= 10
