"""Caches that are made by segmenting pictures: on this machine, or spread over a cluster as a job array."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vprdist.console import Bar, Tell
from vprdist.data.layouts.less import read_names
from vprdist.errors import CacheError
from vprdist.files import digest_json, write_text
from vprdist.launch.array import one_task, run_array
from vprdist.launch.array_folder import Array
from vprdist.launch.check import check_cluster
from vprdist.launch.paths import check_folder
from vprdist.launch.workers import Worker, work_together
from vprdist.machine import usable_cores, usable_memory_gb, visible_gpus
from vprdist.semantics.cache.format import read_manifest
from vprdist.semantics.order import SAME_KIND, CacheOrder
from vprdist.semantics.segmenters.weights import weights_digest
from vprdist.spec.computation import COMPUTATION
from vprdist.spec.doors import MSLS
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.trial import TrialSpec
from vprdist.store.driving import Check, wanted_by_all

PROCESS_GB = 3.0
"""Memory that a process on the CPU needs: DeepLabV3+ with eight pictures of 480x640."""
OTHERS_S = 3.0
"""Seconds before another round of workers, while somebody else makes the last shards."""
WORKER = "vprdist.semantics.worker"
TASK = f"{WORKER}:make_part"


@dataclass(frozen=True)
class Outlook:
    """What an order takes: images in all and done, and its shards' files with their images."""

    images: int
    done: int
    built: bool
    shards: tuple[tuple[str, int], ...]
    segmenter: str
    replaces: str | None
    notes: tuple[str, ...] = ()


def device_of(profile: ClusterProfile, spec: SegmenterSpec) -> Literal["cpu", "cuda"]:
    """Where a network runs under this profile; an exported one has no use for a GPU."""
    has_gpu = profile.num_node_gpus if profile.kind == "slurm" else visible_gpus()
    return "cuda" if has_gpu and not spec.facts.exported else "cpu"


def with_cache(trial: TrialSpec, runs: Path, profile: ClusterProfile) -> TrialSpec:
    """A trial whose segmenter's cache has a folder; where none is named, one in the run folder for this segmenter.

    Raises:
        WeightsError: the segmenter's weights are not there.
    """
    spec = trial.input.segmenter
    if not trial.needs_cache or spec is None:
        return trial
    if trial.input.cache is not None:
        return trial
    data, device = trial.data, device_of(profile, spec)
    what: list[Any] = [spec.identity(weights_digest(spec), device), trial.input.compression, data.root]
    what += [COMPUTATION]  # of other pixels there are other activations
    what += [] if trial.input.table.is_default else [list(trial.input.table.classes)]
    what += [] if trial.input.top_k is None else [f"top {trial.input.top_k}"]
    what += [] if data.layout == MSLS else [data.layout.hashed(), data.layout.digest]
    cache = str(runs / "data" / f"cache-{digest_json(what, 8)}")
    return trial.model_copy(update={"input": trial.input.model_copy(update={"cache": cache})})


def orders_of(trials: Iterable[TrialSpec], profile: ClusterProfile) -> list[CacheOrder]:
    """What has to be made for these trials: one order for each cache, of all the cities that they need of it.

    Raises:
        CacheError: two segmenters are to fill one folder.
    """
    orders: dict[str, CacheOrder] = {}
    for trial in trials:
        wanted = trial.input
        if not trial.needs_cache or wanted.segmenter is None:
            continue
        assert wanted.cache is not None, "with_cache has named it"
        order = CacheOrder(
            root=trial.data.root, layout=trial.data.layout, leave_out=read_names(trial.data.leave_out),
            cities=trial.cached_cities, out=wanted.cache,
            segmenter=wanted.segmenter, device=device_of(profile, wanted.segmenter), compression=wanted.compression,
            class_table=wanted.class_table, top_k=wanted.top_k, pack=trial.data.pack,
        )  # fmt: skip
        known = orders.setdefault(order.out, order)
        if known.model_copy(update={"cities": order.cities, "leave_out": order.leave_out, "pack": order.pack}) != order:
            fault = (
                "a cache must hold the activations of one segmenter, data set, class table and compression; "
                "trials name it for two"
            )
            remedy = "Leave out trial.input.cache: then each has a folder of its own."
            raise CacheError(order.out, fault, f"{known.segmenter.name}, {order.segmenter.name}", remedy)
        cities = tuple(sorted({*known.cities, *order.cities}))
        more = {"cities": cities, "leave_out": _left_out(known, order), "pack": known.pack or order.pack}
        orders[order.out] = order.model_copy(update=more)
    return list(orders.values())


def _left_out(one: CacheOrder, two: CacheOrder) -> tuple[str, ...]:
    """What neither reads: the pictures, as city/side/key, that each leaves out of the cities that it asks for."""

    def reads(order: CacheOrder, name: str) -> bool:
        return name.partition("/")[0] in order.cities and name not in order.leave_out

    names = sorted({*one.leave_out, *two.leave_out})
    return tuple(name for name in names if not reads(one, name) and not reads(two, name))


def look_at(order: CacheOrder) -> Outlook:
    """What there is of a cache and what is missing; nothing is written, and torch is loaded in a process of its own.

    Raises:
        CacheError: weights or pictures are missing, or the folder holds a cache of another size or segmenter.
    """
    notes, found = [], None
    worker = Worker(WORKER, order.model_dump_json(), ("plan",), error=CacheError)
    try:
        for said in worker.says():
            found = said.get("plan", found)
            notes += [said["note"]] if "note" in said else []
    finally:
        worker.end()
    assert found is not None, "a worker that ends well has said its plan"
    shards = tuple((str(file), int(count)) for file, count in found["shards"])
    return Outlook(
        found["images"], found["done"], found["built"], shards, found["segmenter"], found["replaces"],
        tuple(notes),
    )  # fmt: skip


def check_keeps(order: CacheOrder, outlook: Outlook) -> None:
    """No cache of something else would have to give way.

    Raises:
        CacheError: one would.
    """
    if outlook.replaces:
        remedy = "In a sweep leave out trial.input.segmenter to use it as it is, or name another folder, or none."
        raise CacheError(order.out, SAME_KIND, outlook.replaces, f"{remedy} `cache build --replace` makes it anew.")


def check(order: CacheOrder, profile: ClusterProfile) -> list[str]:
    """What of the cluster could not be checked.

    Raises:
        LaunchError: it cannot run such an array.
    """
    if profile.kind == "slurm":
        check_folder(Path(order.out), profile.kind)
    named = (order.root, order.out, order.segmenter.source, *(() if order.pack is None else (order.pack,)))
    paths = [path for path in map(Path, named) if path.is_absolute()]
    notes = check_cluster(one_task(profile), paths)
    return [note for note in notes if not note.startswith("sbatch")]


def make(
    order: CacheOrder, profile: ClusterProfile, tell: Tell, bar: Bar, tasks: int | None = None, replace: bool = False,
    check: Check = wanted_by_all,
) -> None:  # fmt: skip
    """Make a cache, or what of it is missing; returns when it is complete.

    Args:
        replace: a cache of another segmenter, size or compression gives way.
        profile: where: on this machine, or as a job array of the cluster.
        tasks: of the array, at most; None: as many as the profile lets run at once.
        check: called again and again; what it raises ends the processes of this machine.

    Raises:
        CacheError: as `look_at`, and a picture that is cut, a full disk.
        LaunchError: the cluster refuses the array, its tasks keep dying, or the cache is cancelled.
    """
    outlook = look_at(order)
    if outlook.built:
        return
    if not replace:
        check_keeps(order, outlook)
    if outlook.replaces:
        tell(f"{order.out}: replaces a cache of {outlook.replaces}")
    for note in outlook.notes:
        tell(f"fell back: {note}")
    if order.device == "cpu":
        tell("no GPU: the pictures are segmented on the CPU")
    left = outlook.images - outlook.done
    tell(f"{order.out}: {left} of {outlook.images} pictures are to be segmented by {outlook.segmenter}")
    with bar("segmenting pictures") as show:

        def advance(done: int, total: int) -> None:
            check()
            show(done, total)

        if profile.kind == "local":
            _here(order, outlook, advance)
        else:
            _on_cluster(order, outlook, profile, tell, advance, tasks, check)


def _here(order: CacheOrder, outlook: Outlook, advance: Callable[[int, int], None]) -> None:
    """Rounds of workers, until the cache is complete: shards that somebody else makes are passed by, and waited for."""
    _round(order, outlook, advance)
    while not _lists(Path(order.out), outlook):
        time.sleep(OTHERS_S)
        now = look_at(order)
        if now.built:  # by others, in shards of another length
            return
        _round(order, now, advance)


def _round(order: CacheOrder, outlook: Outlook, advance: Callable[[int, int], None]) -> None:
    """One process for each GPU, or core: a network on the CPU computes in one thread, so that its bytes are the same
    on every machine of a kind."""
    gpus = visible_gpus() if order.device == "cuda" else ()
    most = len(gpus) or max(1, min(usable_cores(), int(usable_memory_gb() // PROCESS_GB)))
    count = max(1, min(most, sum(not (Path(order.out) / file).exists() for file, _ in outlook.shards)))
    work_together(
        WORKER, order.model_dump_json(), ("make",), count, lambda made: advance(outlook.done + made, outlook.images),
        gpus=gpus, error=CacheError,
    )  # fmt: skip


def array_of(order: CacheOrder) -> Array:
    """The job array of an order."""
    return Array(f"cache-{order.digest}", order.folder)


def _on_cluster(
    order: CacheOrder, outlook: Outlook, profile: ClusterProfile, tell: Tell, advance: Callable[[int, int], None],
    tasks: int | None, check: Check,
) -> None:  # fmt: skip
    out, array = Path(order.out), array_of(order)
    write_text(array.order, order.model_dump_json(indent=1) + "\n")
    missing = [shard for shard, _ in outlook.shards if not (out / shard).exists()]
    count = max(1, min(tasks or profile.array_limit, len(missing)))

    def tick() -> int:
        # Shards appear by rename, whole.
        made = sum(images for shard, images in outlook.shards if (out / shard).exists())
        advance(made, outlook.images)
        return made

    run_array(
        profile, array, TASK, (str(array.order),), count,
        root=order.folder.parent, is_done=lambda: _lists(out, outlook), tick=tick, tell=tell, check=check,
    )  # fmt: skip
    tick()


def _lists(out: Path, outlook: Outlook) -> bool:
    """The published manifest has every planned shard."""
    try:
        listed = {entry.file for entry in read_manifest(out).shards}
    except CacheError:
        return False
    return listed.issuperset(file for file, _ in outlook.shards)
