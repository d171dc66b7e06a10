"""A cache back to files that others read: the paper's grey PNGs, or one .npz a side. Both can be imported again."""

from __future__ import annotations

import shutil
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from vprdist.errors import CacheError
from vprdist.files import publish, read_json, write_json
from vprdist.semantics.cache import Cache, open_cache
from vprdist.semantics.masks import Activations
from vprdist.semantics.resize import placed
from vprdist.semantics.sources.png import png_files
from vprdist.spec.base import Names
from vprdist.spec.names import first_no_name
from vprdist.spec.vocabulary import CLASSES

NOTE = "export.json"
"""In the export's folder: of which cache it is, so that an export goes on with no other's files; and, as `lost`, what
the cache had dropped, which the files themselves cannot tell from zeros."""
LOST = "; lost before: "
"""Stands in the words of what made a cache's activations, before what an earlier cache of them had dropped."""

Progress = Callable[[int, int], None]


def export_png(path: Path, out: Path, *, size: tuple[int, int] | None = None, progress: Progress | None = None) -> int:
    """Write `<out>/<city>/<side>/<key>/<class>.png`, 8-bit grey, and return the number of images.

    An image's folder appears by one rename, so an export that was cut goes on with the missing images. At the
    cache's own size an import of the export gives equal activations (name that size, imports halve PNGs otherwise);
    but a PNG's pixels are cells, and those of a cache of another grid are placed: it comes back from `export_npz` only.

    Args:
        path: the cache.
        size: (height, width) of the PNGs; None: the cache's. Larger is bilinear, as masks are enlarged in training;
            smaller is averaged by area.
        progress: called with the number of images done and of all.

    Raises:
        CacheError: no cache or a damaged one, a size of nothing, a folder that holds something else, a full disk.
    """
    if size is not None and min(size) < 1:
        raise CacheError("--size", "PNGs must have at least one pixel", list(size), "Choose a larger size.")
    cache = open_cache(path)
    files = png_files(cache.classes)

    def write(city: str, side: str, keys: tuple[str, ...], advance: Callable[[], None]) -> None:
        home = out / city / side
        home.mkdir(parents=True, exist_ok=True)
        for key in keys:
            if not (home / key).exists():
                activations_CHW = placed(cache.activations(city, side, key), size or cache.size, cache.grid)
                _write_image(home / key, files, activations_CHW)
            advance()

    return _export(cache, out, {"layout": "png", "size": list(size or cache.size)}, write, progress)


def export_npz(path: Path, out: Path, *, progress: Progress | None = None) -> int:
    """Write `<out>/<city>_<side>.npz` with `keys` (N) and `activations` (N, C, h, w), deflated; as `export_png`.

    Where the grid is not `cells`, the file names it as `grid`, and where the classes are not the 19, as `classes`.

    Images pass one by one: a side may be larger than memory. A side appears whole; an export that was cut goes on
    with the missing sides.
    """
    cache = open_cache(path)

    def write(city: str, side: str, keys: tuple[str, ...], advance: Callable[[], None]) -> None:
        target = out / f"{city}_{side}.npz"
        there = target.exists()
        if not there:
            with publish(target) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                with archive.open("keys.npy", "w") as member:
                    np.lib.format.write_array(member, np.array(keys), allow_pickle=False)
                if cache.grid != "cells":
                    with archive.open("grid.npy", "w") as member:
                        np.lib.format.write_array(member, np.array(cache.grid), allow_pickle=False)
                if cache.classes != CLASSES:
                    with archive.open("classes.npy", "w") as member:
                        np.lib.format.write_array(member, np.array(cache.classes), allow_pickle=False)
                with archive.open("activations.npy", "w", force_zip64=True) as member:
                    shape = (len(keys), len(cache.classes), *cache.size)
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(member, header)
                    for key in keys:
                        member.write(cache.activations(city, side, key).tobytes())
                        advance()
        for _ in keys if there else ():
            advance()

    return _export(cache, out, {"layout": "npz", "size": list(cache.size)}, write, progress)


def lost_before(cache: Cache) -> str:
    """What was dropped of a cache's activations, by itself and by those that it was exported from; empty: nothing."""
    dropped = cache.dropped()
    own = f"top {cache.manifest.top_k} of {len(cache.classes)} classes: {dropped.words}" if dropped else ""
    earlier = cache.manifest.segmenter.partition(LOST)[2]
    return "; ".join(text for text in (earlier, own if dropped and dropped.dropped else "") if text)


def with_lost(segmenter: str, source: Path) -> str:
    """The words for what made an import's activations, with what its source says that it lost.

    Args:
        source: the folder of an import; only an export of a cache that dropped something says so.
    """
    try:
        note = read_json(source / NOTE)
    except (OSError, ValueError):  # it is no export; a note that is cut is refused by nothing else either
        return segmenter
    lost = note.get("lost") if isinstance(note, dict) else None
    return f"{segmenter}{LOST}{lost}" if isinstance(lost, str) and lost else segmenter


def _export(
    cache: Cache,
    out: Path,
    what: dict[str, object],
    write: Callable[[str, str, tuple[str, ...], Callable[[], None]], None],
    progress: Progress | None,
) -> int:
    total, done = sum(side.count for side in cache.manifest.sides), 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    try:
        lost = lost_before(cache)
        _claim(out, {"cache": cache.digest, **what, **({"lost": lost} if lost else {})})
        for side in cache.manifest.sides:
            _check_keys(cache, side.city, side.side)
            write(side.city, side.side, cache.keys(side.city, side.side), advance)
    except OSError as error:
        remedy = "Make room, or see to the permissions, and export again: what is finished is kept."
        raise CacheError(out, "the disk cannot take the export", error.strerror or str(error), remedy) from error
    return total


def _check_keys(cache: Cache, city: str, side: str) -> None:
    """Folders and rows of the export are called by them."""
    keys = cache.keys(city, side)
    if (row := first_no_name(keys)) is not None:
        remedy = "Make the cache again from a data set whose keys are names."
        raise CacheError(cache.path, f"a key of {city}/{side} must be a name, not a path", keys[row], remedy)


def _claim(out: Path, what: dict[str, object]) -> None:
    """The folder is new, empty, or holds a part of this very export."""
    remedy = "Choose another folder, or delete it."
    if out.exists() and not out.is_dir():
        raise CacheError(out, "an export must be a folder", "a file", remedy)
    try:
        found = read_json(out / NOTE)
    except FileNotFoundError:
        if out.exists() and any(out.iterdir()):
            raise CacheError(out, "an export must begin in an empty folder", min(out.iterdir()).name, remedy) from None
        write_json(out / NOTE, what)
        return
    except ValueError:
        found = None
    if found != what:
        raise CacheError(out, f"the folder must hold the export of {what}", found, remedy)


def _write_image(folder: Path, files: Names, activations_CHW: Activations) -> None:
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    unfinished.mkdir()
    try:
        for file, plane in zip(files, activations_CHW, strict=True):
            Image.fromarray(plane).save(unfinished / file)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
