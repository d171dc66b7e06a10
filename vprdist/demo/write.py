"""Writing a demo city: a complete MSLS tree, rendered in parallel, that can be interrupted at any moment.

Work is cut into chunks of consecutive pictures. A chunk's activations are published last, so a chunk whose part
exists is finished; the parts of a side become one npz, and demo.json is published when all is done.
"""

from __future__ import annotations

import io
import multiprocessing
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vprdist.demo import tables
from vprdist.demo.mark import LOCK, MARK, WORK, check_folder, is_made, wanted_of
from vprdist.demo.render import NUM_CLASSES, render
from vprdist.demo.soften import activations
from vprdist.demo.visits import poses, visits
from vprdist.files import locked, publish, write_json, write_text
from vprdist.machine import leave_with_parent, usable_cores
from vprdist.spec.demo import DemoSpec
from vprdist.spec.vocabulary import SIDES

CHUNK = 16

Chunk = tuple[str, str, int, int]
"""City, side, first row, number of rows."""


def _chunks(spec: DemoSpec) -> list[Chunk]:
    """All work. A chunk lies within one drive: the scene of a drive is built once, or once in a few chunks."""
    found: list[Chunk] = []
    for city in spec.cities:
        for side in SIDES:
            first = 0
            for drive in visits(spec, city, side):
                count = len(poses(spec, drive))
                found += [(city, side, first + k, min(CHUNK, count - k)) for k in range(0, count, CHUNK)]
                first += count
    return found


def _part(folder: Path, chunk: Chunk) -> Path:
    city, side, first, _ = chunk
    return folder / WORK / f"{city}_{side}_{first:07d}.npy"


def _image(path: Path, pixels: np.ndarray[Any, Any], **options: Any) -> None:
    with publish(path) as stream:
        Image.fromarray(pixels).save(stream, **options)


def _render_chunk(text: str, folder: Path, chunk: Chunk) -> int:
    """Render the pictures of a chunk and publish them; returns their number."""
    spec = DemoSpec.model_validate_json(text)
    city, side, first, count = chunk
    parts = []
    for row in tables.rows(spec, city, side)[first : first + count]:
        picture, key = render(spec, row.drive, row.pose), row.pose.key
        images = folder / "train_val" / city / side / "images"
        _image(images / f"{key}.jpg", picture.rgb, format="JPEG", quality=92)
        _image(folder / "labels" / city / side / f"{key}.png", picture.labels, format="PNG", compress_level=6)
        parts.append(activations(picture.cover, spec.divisor, row.pose.seed))
    with publish(_part(folder, chunk)) as stream:
        np.save(stream, np.stack(parts))
    return count


def _header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def _join(text: str, folder: Path, city: str, side: str) -> None:
    """Join the parts of a side to an npz, streaming: a side may be larger than the memory."""
    spec = DemoSpec.model_validate_json(text)
    path = folder / "semantics" / f"{city}_{side}.npz"
    if path.exists():
        return
    keys = np.array([row.pose.key for row in tables.rows(spec, city, side)])
    shape = (len(keys), NUM_CLASSES, spec.height // spec.divisor, spec.width // spec.divisor)
    with publish(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        # Entries made by name carry the date 1980-01-01: the bytes never depend on the clock.
        with archive.open(zipfile.ZipInfo("keys.npy"), "w", force_zip64=True) as entry:
            np.lib.format.write_array(entry, keys, allow_pickle=False)
        info = zipfile.ZipInfo("activations.npy")
        info.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(info, "w", force_zip64=True) as entry:
            entry.write(_header(shape))
            for chunk in _chunks(spec):
                if chunk[:2] == (city, side):
                    entry.write(np.load(_part(folder, chunk)).tobytes())


def _finished(tasks: dict[Any, int]) -> Iterator[int]:
    for future in as_completed(tasks):
        future.result()
        yield tasks[future]


def make(spec: DemoSpec, folder: Path, *, processes: int | None = None,
         progress: Callable[[int, int], None] | None = None) -> None:  # fmt: skip
    """Write a demo city as a complete MSLS tree; start again after an interruption and it goes on.

    Writes train_val/<city>/<side>/images/<key>.jpg (height x width RGB) and the four CSVs,
    labels/<city>/<side>/<key>.png (8-bit trainIds), semantics/<city>_<side>.npz (`keys` (N,),
    `activations` (N, 19, height/divisor, width/divisor) uint8, each pixel's sum about 255), and demo.json last.
    The bytes depend on the spec alone. A complete folder is left as it is, at once.

    Args:
        processes: parallel processes, one a CPU core when None; 1 renders in this process.
        progress: called with (finished pictures, pictures in all).

    Raises:
        DataError: the folder is a file, holds another spec's city, or holds something else.
    """
    folder = Path(folder)
    wanted = wanted_of(spec)
    if folder.exists() and not folder.is_dir():
        check_folder(folder, wanted)
    if is_made(spec, folder):
        shutil.rmtree(folder / WORK, ignore_errors=True)
        return
    with locked(folder / LOCK):
        # Somebody else may have finished it while we waited.
        if not check_folder(folder, wanted):
            _make(spec, folder, processes or usable_cores(), progress or (lambda done, total: None))
            write_json(folder / MARK, wanted)
        shutil.rmtree(folder / WORK, ignore_errors=True)


def _make(spec: DemoSpec, folder: Path, processes: int, progress: Callable[[int, int], None]) -> None:
    text = spec.model_dump_json(by_alias=True)
    for left in folder.rglob(".*.tmp"):
        # What a killed process was writing.
        left.unlink(missing_ok=True)
    for city in spec.cities:
        for side in SIDES:
            for name, content in tables.csvs(spec, city, side).items():
                write_text(folder / "train_val" / city / side / name, content)
    todo = [chunk for chunk in _chunks(spec) if not _part(folder, chunk).exists()]
    total = spec.num_pictures
    done = total - sum(chunk[3] for chunk in todo)
    progress(done, total)
    sides = [(city, side) for city in spec.cities for side in SIDES]
    if processes == 1:
        for chunk in todo:
            done += _render_chunk(text, folder, chunk)
            progress(done, total)
        for city, side in sides:
            _join(text, folder, city, side)
        return
    # Spawned, not forked: the caller may have threads and CUDA.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=leave_with_parent) as pool:
        try:
            for count in _finished({pool.submit(_render_chunk, text, folder, c): c[3] for c in todo}):
                done += count
                progress(done, total)
            for _ in _finished({pool.submit(_join, text, folder, *side): 0 for side in sides}):
                pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
