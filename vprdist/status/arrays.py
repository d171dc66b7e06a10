"""What a sweep's driver makes beside trials, as job arrays of a cluster or here: caches, and probes of networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vprdist.files import canonical_json
from vprdist.launch.array_folder import Array
from vprdist.launch.queue_rows import ALIVE_STATES
from vprdist.probes.order import ProbeOrder
from vprdist.spec.subsets import Point
from vprdist.status.facts import Queue, explain
from vprdist.status.find import Sweep
from vprdist.store.attribution_file import attribution_path
from vprdist.store.manifest import sweep_file
from vprdist.store.proposals import networks
from vprdist.store.trial_folder import TrialFolder


@dataclass(frozen=True)
class Probing:
    """The probes of those of a sweep's networks that have a result.

    Attributes:
        made: of `total`, over `networks` networks.
        arrays: job arrays of probes that are still to be made; none where no cluster was asked for them.
        pictures: whose sums are there, and all of them, where probes that are not made are pooled; (0, 0): none is.
        attributed: what the sweep says of its classes is there, which comes last.
    """

    made: int
    total: int
    networks: int
    arrays: tuple[Array, ...]
    attributed: bool
    pictures: tuple[int, int] = (0, 0)

    @property
    def are_missing(self) -> bool:
        """Some are still to be made, and nothing can be said of classes before."""
        return self.made < self.total

    @property
    def is_over(self) -> bool:
        """Neither probes nor finalists are to come; of more seeds than an earlier run had, only their driver knows."""
        return self.made == self.total and self.attributed


@dataclass(frozen=True)
class ArrayFacts:
    """A job array in the queue. `state` is `queued`, `running`, another of SLURM's, `unknown`, or empty: not there."""

    name: str
    state: str = ""
    job_id: str | None = None
    running: int = 0
    why: str = ""

    def __str__(self) -> str:
        if self.state == "running":
            return f"array {self.name}: {self.running} task(s) running"
        return f"array {self.name}: {self.state or 'not in the queue'}" + (f" ({self.why})" if self.why else "")


def probe_orders(sweep: Sweep) -> list[ProbeOrder]:
    """The probes of those of a sweep's networks that have a result.

    Raises:
        UserError: the sweep's file cannot be read.
    """
    ids = networks(sweep.folder)
    if not ids:  # most sweeps: their file is not even opened
        return []
    from vprdist.probes.make import orders_of
    from vprdist.spec.sweep_file import read_sweep

    spec = read_sweep(sweep_file(sweep.folder))
    if not spec.search.method.trains_one:
        return []

    def network_at(point: Point) -> TrialFolder | None:
        folder = sweep.trials.get(ids.get(canonical_json(point), ""))
        return folder if folder is not None and folder.has_result else None

    found = [order for setting in spec.settings for order in orders_of(spec, setting, network_at)]
    return list(dict.fromkeys(found))  # points of a grid may be one trial, whose probes are made once


def read_probing(sweep: Sweep) -> Probing | None:
    """How far the probes are; None for sweeps without, and while no network has a result.

    Raises:
        UserError: the sweep's file cannot be read.
    """
    orders = probe_orders(sweep)
    if not orders:
        return None
    from vprdist.probes.make import array_of
    from vprdist.probes.read import pictures_summed

    summed = [pictures_summed(order) for order in orders if order.how == "pooled" and order.missing]
    arrays = [array_of(order) for order in orders if order.missing]
    return Probing(
        made=sum(order.num_done for order in orders), total=sum(len(order.probes) for order in orders),
        networks=len({order.trial for order in orders}),
        arrays=tuple(array for array in arrays if array.order.exists()),
        attributed=attribution_path(sweep.folder).exists(),
        pictures=(sum(made for made, _ in summed), sum(total for _, total in summed)),
    )  # fmt: skip


def probe_arrays(sweep: Sweep) -> list[Array]:
    """Job arrays of probes that are still to be made, those that a cluster was ever asked for.

    Raises:
        UserError: the sweep's file cannot be read.
    """
    probing = read_probing(sweep)
    return [] if probing is None else list(probing.arrays)


def cache_arrays(sweep: Sweep) -> list[Array]:
    """Job arrays of the caches that the sweep's trials need, those that a cluster was ever asked for.

    Raises:
        UserError: the sweep's file, its profile or a segmenter's weights cannot be read.
    """
    from vprdist.prepare.folders import cache_orders
    from vprdist.semantics.segmenting import array_of
    from vprdist.spec.profile import read_profile
    from vprdist.spec.sweep_file import read_sweep

    spec = read_sweep(sweep_file(sweep.folder))
    orders = cache_orders(spec, read_profile(spec.cluster), sweep.folder.parents[1])
    return [array for order in orders if (array := array_of(order)).order.exists()]


def read_array(array: Array, queue: Queue) -> ArrayFacts:
    """What the queue says of an array. Its waiting tasks are one row, each that runs is another."""
    if queue.rows is None:
        return ArrayFacts(array.job, "unknown" if queue.silent else "")
    rows = [row for row in queue.rows.get(array.job, ()) if row.state in ALIVE_STATES and array.owns(row)]
    if not rows:
        return ArrayFacts(array.job)
    job_id, running = rows[0].job_id.split("_")[0], sum(row.state == "RUNNING" for row in rows)
    if running:
        return ArrayFacts(array.job, "running", job_id, running)
    row = next((row for row in rows if row.state == "PENDING"), rows[0])
    state = "queued" if row.state == "PENDING" else row.state.lower()
    return ArrayFacts(array.job, state, job_id, 0, explain(row.reason) if state == "queued" else "")


def words(probing: Probing, arrays: Sequence[ArrayFacts]) -> str:
    """One line of status."""
    networks = f"{probing.networks} network" + ("s" if probing.networks > 1 else "")
    shown = [each for each in arrays if each.state] or list(arrays[:1])
    made, pictures = probing.pictures
    sums = [f"sums of classes: {made:,} of {pictures:,} pictures"] if pictures else []
    return "; ".join([f"probes: {probing.made:,} of {probing.total:,} made ({networks})", *sums, *map(str, shown)])


def missing_words(probing: Probing) -> str:
    """One line of the leaderboard and the page, in the place of what is said of classes."""
    return f"probes: {probing.made:,} of {probing.total:,} made; what each class adds comes when all are"


def to_json(probing: Probing, arrays: Sequence[ArrayFacts]) -> dict[str, Any]:
    """Plain values."""
    out = {
        "made": probing.made, "total": probing.total, "networks": probing.networks,
        "arrays": [asdict(each) for each in arrays],
    }  # fmt: skip
    if probing.pictures[1]:
        out["pictures_summed"], out["pictures"] = probing.pictures
    return out
