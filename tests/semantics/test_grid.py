"""Where the points of a grid lie on their picture: by loops, for both grids, and all that reads them."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vprdist.errors import CacheError, OwnCodeError
from vprdist.network.stem import InputStem
from vprdist.semantics.cache import Cache, grid_of, open_cache
from vprdist.semantics.cache.staging import staged
from vprdist.semantics.exporting import export_npz, export_png
from vprdist.semantics.importing import import_cache
from vprdist.semantics.resize import area_weights, placed, placed_mask, point_shares, resize_area
from vprdist.semantics.segmenters import open_segmenter
from vprdist.semantics.segmenters.inference import Flipped, Sized, Sliding
from vprdist.semantics.segmenters.litert import Enlargement, find_grid
from vprdist.semantics.sources.segmented import segment
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.vocabulary import CLASSES

from .conftest import World
from .test_masks import slow_area

GROWN = [((5, 7), (12, 9)), ((1, 4), (3, 11)), ((3, 3), (4, 64)), ((9, 9), (17, 12))]
SHRUNK = [((5, 7), (5, 7)), ((12, 9), (5, 7)), ((9, 4), (1, 4)), ((9, 8), (4, 5)), ((2, 1), (2, 1))]
BOTH = [((5, 7), (9, 3)), ((12, 3), (4, 10))]


def place_on(grid: str, pixel: int, pixels: int, count: int) -> Fraction:
    """Where a pixel's centre lies among the points, in steps from the first."""
    if grid == "corners":  # the first point on the first pixel, the last on the last
        return Fraction(pixel * (count - 1), pixels - 1)
    at = (Fraction(2 * pixel + 1, 2 * pixels) * count) - Fraction(1, 2)
    return min(max(at, Fraction(0)), Fraction(count - 1))  # beyond the outer centres their values go on


def slow_bilinear(plane: np.ndarray, size: tuple[int, int], grid: str) -> np.ndarray:
    """For every pixel, where it lies on the grid, and the weighted mean of the four points about it, in float64."""
    out = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            at = [place_on(grid, p, n, c) for p, n, c in zip((y, x), size, plane.shape, strict=True)]
            low = [int(a) for a in at]
            for dy in (0, 1):
                for dx in (0, 1):
                    weight = abs(1 - dy - (at[0] - low[0])) * abs(1 - dx - (at[1] - low[1]))
                    if weight:
                        out[y, x] += float(weight) * float(plane[low[0] + dy, low[1] + dx])
    return out


def line_mean(values: list[Any], begin: Fraction, end: Fraction) -> Any:
    """The mean of the line through values at 0, 1, … between two places: piece by piece, by the trapezoid's rule."""
    cuts = sorted({begin, end, *(Fraction(k) for k in range(len(values)) if begin < k < end)})

    def at(place: Fraction) -> Any:
        low = min(int(place), len(values) - 2)
        return values[low] + (place - low) * (values[low + 1] - values[low])

    return sum((b - a) * (at(a) + at(b)) / 2 for a, b in pairwise(cuts)) / (end - begin)


def slow_cells(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Corner points as cells: the exact mean of their surface over each part, by fractions."""

    def along(values: list[Any], parts: int) -> list[Any]:
        if len(values) == 1:
            return values * parts
        step = Fraction(len(values) - 1, parts)
        return [line_mean(values, i * step, (i + 1) * step) for i in range(parts)]

    rows = [along([Fraction(int(v)) for v in row], size[1]) for row in plane]
    columns = [along(list(column), size[0]) for column in zip(*rows, strict=True)]
    return np.array([[int(v + Fraction(1, 2)) for v in row] for row in zip(*columns, strict=True)])


def random_planes(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *size]).integers(0, 256, (2, *size)).astype(np.uint8)


@pytest.mark.parametrize("grid", ["cells", "corners"])
@pytest.mark.parametrize(("size", "wanted"), GROWN)
def test_pixels_are_where_they_lie_on_the_grid(size: tuple[int, int], wanted: tuple[int, int], grid: Any) -> None:
    planes = random_planes(size)
    slow = np.stack([slow_bilinear(plane, wanted, grid) for plane in planes])
    assert np.abs(placed(planes, wanted, grid) - slow).max() <= 1, "a grey level: it is rounded"
    assert np.abs(placed(planes, wanted, grid) - slow).mean() < 0.3
    for plane, truth in zip(planes, slow, strict=True):
        np.testing.assert_allclose(placed_mask(plane.astype(np.float32), wanted, grid), truth, atol=1e-4)
    stem = InputStem("rgb+semantics", 1, grid).placed(torch.from_numpy(planes)[None], wanted)[0]
    np.testing.assert_allclose(stem.numpy(), slow, atol=2e-4)


@pytest.mark.parametrize(("size", "wanted"), SHRUNK + GROWN)
def test_corners_as_cells_are_the_means_of_their_surface(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    planes = random_planes(size)
    for plane, found in zip(planes, resize_area(planes, wanted, "corners"), strict=True):
        assert (found == slow_cells(plane, wanted)).all()


@pytest.mark.parametrize(("size", "wanted"), SHRUNK)
def test_what_shrinks_is_averaged(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    planes = random_planes(size)
    assert (placed(planes, wanted, "corners") == resize_area(planes, wanted, "corners")).all()
    assert (placed(planes, wanted, "cells") == np.stack([slow_area(plane, wanted) for plane in planes])).all()
    for grid in ("cells", "corners"):
        mask = placed_mask(planes[0].astype(np.float32), wanted, grid)  # type: ignore[arg-type]
        assert np.abs(mask - placed(planes, wanted, grid)[0]).max() < 0.501  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "wanted"), BOTH)
def test_one_side_may_grow_and_the_other_shrink(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """By hand: the side that shrinks is averaged first, the other filled bilinearly then."""
    plane = random_planes(size)[0].astype(float)
    for axis in (0, 1):
        if wanted[axis] <= size[axis]:
            weights = area_weights(size[axis], wanted[axis], "corners")
            plane = np.moveaxis(np.tensordot(weights, plane, (1, axis)), 0, axis)
    slow = np.zeros(wanted)
    for y in range(wanted[0]):
        for x in range(wanted[1]):
            at = [
                place_on("corners", p, n, c) if n > c else Fraction(p)
                for p, n, c in zip((y, x), wanted, plane.shape, strict=True)
            ]
            low = [min(int(a), c - 1) for a, c in zip(at, plane.shape, strict=True)]
            for dy in (0, 1):
                for dx in (0, 1):
                    weight = abs(1 - dy - (at[0] - low[0])) * abs(1 - dx - (at[1] - low[1]))
                    if weight:
                        slow[y, x] += float(weight) * plane[low[0] + dy, low[1] + dx]
    assert np.abs(placed(random_planes(size), wanted, "corners")[0] - slow).max() < 0.501


@pytest.mark.parametrize(("size", "wanted"), GROWN + SHRUNK + BOTH)
def test_cells_are_read_as_they_always_were(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """To the bit: caches, masks and pictures from before grids were known stay what they are."""
    planes = random_planes(size, 5)
    if wanted[0] > size[0] or wanted[1] > size[1]:
        old = np.stack([np.asarray(Image.fromarray(p).resize(wanted[::-1], Image.Resampling.BILINEAR)) for p in planes])
        assert (placed(planes, wanted, "cells") == old).all()
    assert (resize_area(planes, wanted) == np.stack([slow_area(plane, wanted) for plane in planes])).all()
    extra = torch.from_numpy(planes)[None]
    shares = extra.float() / 255
    resized = torch.nn.functional.interpolate(shares, wanted, mode="bilinear", align_corners=False)
    stem = InputStem("rgb+semantics")
    assert torch.equal(stem.placed(extra, wanted), shares if size == wanted else resized)
    assert torch.equal(stem.cells(extra), shares)


def test_a_network_that_reads_masks_by_itself_is_given_cells() -> None:
    planes = random_planes((5, 7))
    found = InputStem("rgb+semantics", 1, "corners").cells(torch.from_numpy(planes)[None])[0].numpy()
    assert np.abs(found - np.stack([slow_cells(plane, (5, 7)) for plane in planes])).max() < 0.501
    assert np.abs(found - planes).max() > 5, "they are others than those of the grid"


def test_shares_of_a_picture() -> None:
    assert (point_shares((2, 5), "cells") == 0.1).all()
    np.testing.assert_allclose(point_shares((2, 3), "corners"), np.outer([0.5, 0.5], [0.25, 0.5, 0.25]))


# --- the cache ---


def with_grid(world: World, grid: str) -> None:
    for path in world.source.glob("*.npz"):
        with np.load(path) as archive:
            content = dict(archive)
        np.savez(path, **(content | {"grid": np.array(grid)}))


def test_the_grid_travels_with_the_cache(world: World, tmp_path: Path) -> None:
    plain = import_cache(world.source, world.root, tmp_path / "plain")
    text = (tmp_path / "plain" / "manifest.json").read_text()
    assert "grid" not in json.loads(text) and json.loads(text)["version"] == 1, "a vprdist from before reads it"
    with_grid(world, "corners")
    cache = import_cache(world.source, world.root, world.out)
    assert (cache.grid, plain.grid, grid_of(world.out)) == ("corners", "cells", "corners")
    assert grid_of(tmp_path / "nothing") == "cells"
    assert cache.manifest.version == 3, "a vprdist that knows no grid refuses it by its version"
    assert cache.digest != plain.digest
    assert {shard.id for shard in cache.manifest.shards}.isdisjoint(shard.id for shard in plain.manifest.shards)
    assert open_cache(world.out).digest == cache.digest
    key, truth = next(iter(world.truth["cph", "query"].items()))
    assert (cache.activations("cph", "query", key) == truth).all(), "stored as the source has them"
    with staged(world.out, ["cph"], tmp_path / "scratch") as copy:
        assert copy.fallback is None and open_cache(copy.path).grid == "corners"
    with_grid(world, "cells")
    assert import_cache(world.source, world.root, tmp_path / "named").digest == plain.digest
    with pytest.raises(CacheError, match="the cache there must be of this segmenter"):
        import_cache(world.source, world.root, world.out)
    with pytest.raises(CacheError, match=r"one size, grid and segmenter.*7 x 9 corners"):
        import_cache(world.source, world.root, world.out, ["cph"], replace=True)


def test_the_digest_of_cells_is_what_it_was(world: World) -> None:
    manifest = import_cache(world.source, world.root, world.out).manifest
    sides = {f"{side.city}/{side.side}": side.content for side in manifest.sides}
    what = {"classes": list(CLASSES), "height": 7, "width": 9, "sides": sides}

    text = json.dumps(what, sort_keys=True, separators=(",", ":"))
    assert manifest.digest == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_another_size_is_stored_as_cells(world: World) -> None:
    with_grid(world, "corners")
    cache = import_cache(world.source, world.root, world.out, size=(7, 9))
    assert cache.grid == "cells"
    key, truth = next(iter(world.truth["cph", "query"].items()))
    found = cache.activations("cph", "query", key)
    assert (found[3] == slow_cells(truth[3], (7, 9))).all() and (found != truth).any()


def test_files_of_two_grids_are_no_cache(world: World) -> None:
    path = world.source / "cph_query.npz"
    with np.load(path) as archive:
        content = dict(archive)
    np.savez(path, **(content | {"grid": np.array("corners")}))
    with pytest.raises(CacheError, match="the activations of a cache must lie on one grid"):
        import_cache(world.source, world.root, world.out)
    np.savez(path, **(content | {"grid": np.array("edges")}))
    with pytest.raises(CacheError, match=r"cph_query\.npz: `grid` must be cells or corners; found 'edges'"):
        import_cache(world.source, world.root, world.out)
    assert not world.out.exists()


def test_exports_are_placed(world: World, tmp_path: Path) -> None:
    with_grid(world, "corners")
    cache: Cache = import_cache(world.source, world.root, world.out)
    export_png(world.out, tmp_path / "large", size=(15, 20))
    export_png(world.out, tmp_path / "own")
    key, truth = next(iter(world.truth["cph", "query"].items()))
    large, own = (np.asarray(Image.open(tmp_path / to / "cph" / "query" / key / "wall.png")) for to in ("large", "own"))
    assert np.abs(large - slow_bilinear(truth[3], (15, 20), "corners")).max() < 0.501
    assert (own == slow_cells(truth[3], (7, 9))).all(), "a PNG's pixels are cells"
    export_npz(world.out, tmp_path / "npz")
    again = import_cache(tmp_path / "npz", world.root, tmp_path / "again")
    assert (again.digest, again.grid) == (cache.digest, "corners")


def test_what_covers_a_picture_counts_by_area(world: World) -> None:
    with_grid(world, "corners")
    shares, count = import_cache(world.source, world.root, world.out).mean_shares()
    images = [value for side in world.truth.values() for value in side.values()]
    slow = np.mean([[slow_cells(plane, (1, 1))[0, 0] for plane in image] for image in images], axis=0) / 255
    assert count == len(images)
    np.testing.assert_allclose([shares[name] for name in CLASSES], slow, atol=0.5 / 255)


# --- segmenters ---


class Corners:
    """Answers with the picture's red at 5 x 7 points between its corners, as if it were road; the rest is sky."""

    image_size, description, grid = (17, 25), "corners", "corners"

    def output_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        return 5, 7

    def __call__(self, image_B3HW: torch.Tensor) -> torch.Tensor:
        size = tuple(image_B3HW.shape[2:])
        rows, columns = (torch.linspace(0, n - 1, k).round().long() for n, k in zip(size, (5, 7), strict=True))
        out = torch.zeros(len(image_B3HW), 19, 5, 7)
        out[:, 0] = image_B3HW[:, 0][:, rows][:, :, columns].float() / 255
        out[:, 10] = 1 - out[:, 0]
        return out


def test_what_goes_around_a_network_knows_its_grid() -> None:
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 17, 25)).astype(np.uint8))
    inner: Any = Corners()
    own = inner(picture)
    assert Flipped(inner).grid == Sized(inner, None).grid == "corners"
    assert torch.equal(Sized(inner, None)(picture), own)
    sized = Sized(inner, (5, 7))
    assert sized.grid == "cells"
    wanted = slow_cells(np.round(own[0, 0].numpy() * 255).astype(np.uint8), (5, 7))
    assert np.abs(sized(picture)[0, 0].numpy() * 255 - wanted).max() < 0.52
    torch.testing.assert_close(sized(picture).sum(dim=1), torch.ones(1, 5, 7))
    sliding = Sliding(inner, (16, 24), (16, 24), 0.25)
    assert sliding.grid == "cells" and sliding.cell == (4, 4)
    window = picture[:, :, :16, :24]
    wanted = slow_cells(np.round(inner(window)[0, 0].numpy() * 255).astype(np.uint8), (4, 6))
    assert np.abs(sliding(window)[0, 0].numpy() * 255 - wanted).max() < 0.52


OWN = """
import torch
class Net:
    {grid}
    def __call__(self, image):
        return torch.full((len(image), 19, 3, 5), 1 / 19)
"""


@pytest.mark.parametrize(("line", "grid"), [("pass", "cells"), ('grid = "corners"', "corners")])
def test_a_class_of_ones_own_says_its_grid(tmp_path: Path, line: str, grid: str) -> None:
    (tmp_path / "net.py").write_text(OWN.format(grid=line))
    assert open_segmenter(SegmenterSpec(name=f"{tmp_path / 'net.py'}:Net")).grid == grid


def test_a_grid_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(OWN.format(grid='grid = "edges"'))
    with pytest.raises(OwnCodeError, match="`grid` of a segmenter must be cells or corners; found 'edges'"):
        open_segmenter(SegmenterSpec(name=f"{tmp_path / 'net.py'}:Net"))


def test_an_exported_network_says_its_grid_where_it_enlarges() -> None:
    corners, cells, neither = Enlargement(True, False), Enlargement(False, True), Enlargement(False, False)
    assert find_grid((513, 513), (33, 33), [corners]) == "corners"
    assert find_grid((512, 512), (32, 32), [neither, corners]) == "corners"
    assert find_grid((513, 513), (33, 33), [cells]) == "cells"
    for resizings in ([], [neither]):
        assert find_grid((513, 513), (33, 33), resizings) == "corners", "16 pixels from point to point"
        assert find_grid((512, 1024), (32, 64), resizings) == "cells"
        assert find_grid((513, 512), (33, 32), resizings) == "cells"
        assert find_grid((65, 65), (65, 65), resizings) == "cells"
        assert find_grid((65, 65), (1, 1), resizings) == "cells"


def test_the_real_deeplab_lies_on_corners(shared_data: Path) -> None:
    """Its own class map, at 513 x 513, agrees better with its cached activations where these are placed so."""
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed: pip install -e .[litert]")
    path = shared_data / "weights" / "deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite"
    pictures = sorted(shared_data.glob("lip6/train_val/lip6b/query/images/*.jpg"))[::40]
    if not path.is_file() or not pictures:
        pytest.skip(f"no {path}, or no lip6 beside it")
    segmenter: Any = open_segmenter(SegmenterSpec(name=f"litert:{path}"))
    assert segmenter.grid == "corners"
    inner = segmenter
    while hasattr(inner, "inner"):
        inner = inner.inner
    output = inner.interpreter.get_output_details()[0]["index"]
    agreement: dict[str, list[float]] = {"cells": [], "corners": []}
    for picture in pictures:
        with Image.open(picture) as file:
            pixels = np.array(file.convert("RGB").resize((513, 513), Image.Resampling.BILINEAR))
        activations = segment(segmenter, pixels[None])[0]
        class_map = inner.interpreter.get_tensor(output)[0]
        for grid, found in agreement.items():
            found.append(float((placed(activations, (513, 513), grid).argmax(axis=0) == class_map).mean()))  # type: ignore[arg-type]
    assert np.mean(agreement["corners"]) > 0.96
    assert (np.array(agreement["corners"]) > np.array(agreement["cells"]) + 0.01).all(), agreement


def test_a_sweeps_own_cache_of_an_exported_network_is_made_anew() -> None:
    """One that was filled before is of another identity: as cells it is what it was, and nobody's answer today."""
    exported, other = SegmenterSpec(name="litert:a.tflite"), SegmenterSpec(name="deeplabv3plus", weights="a")
    assert exported.hashed()["grid"] == "as exported" and "grid as exported" in exported.words("0", "cpu")
    assert "grid" not in other.hashed() and "grid" not in other.words("0", "cpu")
