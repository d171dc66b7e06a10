"""Packing: shard by shard by several processes, resumed where it was cut, published when all is there."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from vprdist.data.images import BROKEN_REMEDY, MAX_BYTES, SMALLER_REMEDY, load_image, missing_remedy
from vprdist.data.layouts import Layout
from vprdist.data.pack.format import MANIFEST, SHARDS, Manifest, ShardEntry, read_manifest
from vprdist.data.pack.plan import Plan, PlannedPicture, PlannedShard, decoder, make_plan
from vprdist.data.pack.shard import Packed, entry_of, write_shard
from vprdist.errors import DataError
from vprdist.files import NotAFile, file_stamp, locked, number_of_content, open_file, write_text
from vprdist.machine import leave_with_parent, usable_cores, usable_memory_gb
from vprdist.spec.computation import COMPUTATION

Progress = Callable[[int, int], None]
OURS = re.compile(r"\.?.+_(query|database)_\d{7,}-[0-9a-f]{16}\.arrow(\.[0-9a-f]{8}\.tmp)?")
LOOK_S = 0.3
"""Seconds between two looks at how far the processes are."""


@dataclass(frozen=True)
class Wanted:
    """What is to be packed, and how.

    Attributes:
        image_size: pixels of this size; None: the bytes of files.
        shard_bytes: a shard is no larger, unless one picture is.
        processes: that read and decode at once; None: one a core, as far as the memory goes.
    """

    layout: Layout
    cities: tuple[str, ...]
    image_size: tuple[int, int] | None = None
    shard_bytes: int = 256 * 10**6
    processes: int | None = None


def make_pack(wanted: Wanted, out: Path, progress: Progress = lambda done, total: None) -> Manifest:
    """Make a pack, or what of it is missing: shards that are finished and of files as they are now stay.

    Cities that the pack holds already stay in it.

    Args:
        progress: called with the number of pictures done and of all.

    Raises:
        DataError: a picture that is missing or cannot be read; a folder that holds something else, or in which
            somebody else packs.
    """
    if out.exists() and not out.is_dir():
        raise DataError(out, "a pack must be a folder", "a file", "Choose another path.")
    plan = make_plan(wanted.layout, wanted.cities, wanted.image_size, wanted.shard_bytes)
    _manifest_there(out, wanted)  # nothing is made where it refuses
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(locked(out / ".lock", blocking=False)):
            fault = "somebody else packs into this folder already"
            raise DataError(out, fault, None, "Wait until they are done, or choose another folder.")
        before = _manifest_there(out, wanted)
        entries = _make(plan, out, wanted, progress)
        manifest = _joined(before, plan, entries, wanted)
        write_text(out / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
        listed = {entry.file for entry in manifest.shards}
        for path in (out / SHARDS).iterdir():
            if path.name not in listed and OURS.fullmatch(path.name):
                path.unlink()  # of an earlier state, or what a killed process was writing
    return manifest


def _manifest_there(out: Path, wanted: Wanted) -> Manifest | None:
    """The manifest of a pack that is added to.

    Raises:
        DataError: the folder holds a pack of another kind, or something else.
    """
    if not (out / MANIFEST).exists():
        others = (
            sorted(each.name for each in out.iterdir() if each.name not in (SHARDS, ".lock")) if out.exists() else []
        )
        if others:
            fault = "a pack must have a folder of its own, and this one holds something else"
            raise DataError(out, fault, others[0], "Name a new folder.")
        return None
    before = read_manifest(out)
    if (before.image_size, before.computation, before.decoder) != (wanted.image_size, COMPUTATION, _decoder(wanted)):
        fault = f"the pack there must be of this kind, {_kind(wanted)}"
        value = f"{before.kind} ({before.decoder})" if before.image_size else before.kind
        raise DataError(out, fault, value, "Name another folder, or delete this one.")
    return before


def _kind(wanted: Wanted) -> str:
    if wanted.image_size is None:
        return "files as they are"
    return f"pixels of {wanted.image_size[0]}x{wanted.image_size[1]} ({decoder()})"


def _decoder(wanted: Wanted) -> str:
    return "none" if wanted.image_size is None else decoder()


def _joined(before: Manifest | None, plan: Plan, entries: list[ShardEntry], wanted: Wanted) -> Manifest:
    others = [] if before is None else [shard for shard in before.shards if shard.city not in plan.cities]
    cities = {**({} if before is None else before.cities), **plan.cities}
    return Manifest(
        image_size=wanted.image_size, computation=COMPUTATION, decoder=_decoder(wanted),
        cities=dict(sorted(cities.items())),
        shards=tuple(sorted((*others, *entries), key=lambda each: (each.city, each.side, each.first))),
    )  # fmt: skip


class _Counter:
    """How many pictures are done, and whether all are to stop: shared by the processes."""

    def __init__(self, done: Synchronized[int], stop: Synchronized[int]) -> None:
        self.done, self.stop = done, stop

    def advance(self) -> None:
        with self.done.get_lock():
            self.done.value += 1
        if self.stop.value:
            raise KeyboardInterrupt


def _make(plan: Plan, out: Path, wanted: Wanted, progress: Progress) -> list[ShardEntry]:
    largest = max((shard.room for shard in plan.shards), default=1)
    most = wanted.processes or min(usable_cores(), int(usable_memory_gb() * 1e9 / 2 / (2 * largest)))
    processes = max(1, min(most, len(plan.shards)))
    # Spawned, not forked: the caller may have threads.
    context = multiprocessing.get_context("spawn")
    counter = _Counter(context.Value("q", 0), context.Value("i", 0))
    progress(0, plan.count)
    if processes == 1:
        return list(_here(plan, out, counter, progress))
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_enter, initargs=(counter,)) as pool:
        try:
            tasks = [pool.submit(_make_in_pool, out, shard) for shard in plan.shards]
            _wait(tasks, counter, plan.count, progress)
        except BaseException:
            counter.stop.value = 1
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [task.result() for task in tasks]


def _wait(tasks: list[Future[ShardEntry]], counter: _Counter, total: int, progress: Progress) -> None:
    """Raises what a process raised, of several one that is no echo."""
    left: set[Future[ShardEntry]] = set(tasks)
    while left:
        done, left = wait(left, timeout=LOOK_S, return_when=FIRST_EXCEPTION)
        for task in done:
            task.result()
        progress(min(counter.done.value, total), total)


def _here(plan: Plan, out: Path, counter: _Counter, progress: Progress) -> Iterator[ShardEntry]:
    class Shown(_Counter):
        def advance(self) -> None:
            super().advance()
            progress(self.done.value, plan.count)

    shown = Shown(counter.done, counter.stop)
    for shard in plan.shards:
        yield _make_shard(out, shard, shown.advance)


_counters: list[_Counter] = []


def _enter(counter: _Counter) -> None:
    """Begin a process of the pool."""
    _counters[:] = [counter]
    leave_with_parent()


def _make_in_pool(out: Path, shard: PlannedShard) -> ShardEntry:
    return _make_shard(out, shard, _counters[0].advance)


def _make_shard(out: Path, shard: PlannedShard, advance: Callable[[], None]) -> ShardEntry:
    """One shard: as it lies there, if it is whole and its files are what they were, else made anew."""
    as_planned = [(each.key, each.name, each.size, each.stamp) for each in shard.pictures]
    there = entry_of(out / SHARDS / shard.place.file, shard.place, as_planned)
    if there is not None:
        for _ in shard.pictures:
            advance()
        return there

    def pictures() -> Iterator[Packed]:
        for each in shard.pictures:
            yield packed(each, shard.image_size)
            advance()

    return write_shard(out, shard.place, pictures(), shard.room)


def packed(picture: PlannedPicture, image_size: tuple[int, int] | None) -> Packed:
    """A picture as it goes into a shard.

    Raises:
        DataError: it cannot be read, or was written to since it was planned.
    """
    data = _read(picture)
    content = number_of_content(data)
    if image_size is not None:
        data = load_image(picture.path, *image_size, data).tobytes()
    return Packed(picture.key, picture.name, picture.size, picture.stamp, content, data)


def _read(picture: PlannedPicture) -> bytes:
    path = picture.path
    try:
        with open_file(path) as stream:
            if (size := os.fstat(stream.fileno()).st_size) > MAX_BYTES:
                raise DataError(path, f"a picture must have {MAX_BYTES} bytes at most", size, SMALLER_REMEDY)
            data = stream.read()
            stamp = file_stamp(os.fstat(stream.fileno()))
    except FileNotFoundError:
        raise DataError(path, "the picture is missing", None, missing_remedy(path)) from None
    except (NotAFile, PermissionError) as error:
        raise DataError(path, "the picture cannot be read", error.strerror, BROKEN_REMEDY) from None
    if (len(data), stamp) != (picture.size, picture.stamp):
        fault = "the picture was changed while it was to be packed"
        raise DataError(path, fault, None, "Start again when nobody writes there: what is packed stays.")
    return data
