"""Probes of trials: their networks under many arms, on this machine or spread over a cluster as a job array."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from vprdist.console import Bar, Tell
from vprdist.errors import UserError, first_line
from vprdist.files import read_json, write_text
from vprdist.launch.array import run_array
from vprdist.launch.capacity import TRIAL_GB, usable_memory_gb, visible_gpus
from vprdist.launch.workers import work_together
from vprdist.machine import usable_cores
from vprdist.spec.probes import PartReport, ProbeOrder
from vprdist.spec.profile import ClusterProfile

WORKER = "vprdist.training.probe_worker"
TASK = f"{WORKER}:make_part"
OTHERS_S = 3.0
"""Seconds before another round, while somebody else makes the last parts."""


def make_probes(
    orders: Sequence[ProbeOrder], profile: ClusterProfile, tell: Tell, bar: Bar, concurrent: int | None = None
) -> None:
    """Make what is missing of some orders, one after the other; returns when all are complete.

    Args:
        profile: where: on this machine, or as job arrays of the cluster.
        concurrent: processes on this machine, at most; None: what the profile and the machine bear.

    Raises:
        UserError: data, cache or checkpoint have changed; the cluster refuses the array, or its tasks keep dying.
    """
    total = sum(len(order.probes) for order in orders)
    before = sum(order.num_done for order in orders)
    if before == total:
        return
    what = f"{total - before} of {total} probes of {len(orders)} network(s)"
    tell(f"probing: {what} are to be made; interrupted, the same command goes on where it was")
    with bar("probing networks") as advance:
        for place, order in enumerate(orders):
            others = sum(each.num_done for each in (*orders[:place], *orders[place + 1 :]))

            def made(count: int, others: int = others) -> None:
                advance(others + count, total)

            if profile.kind == "local":
                _here(order, profile, made, concurrent)
            else:
                _on_cluster(order, profile, tell, made)


def _here(order: ProbeOrder, profile: ClusterProfile, made: Callable[[int], None], concurrent: int | None) -> None:
    """Rounds of processes, one for each GPU or core, until every part is there: others may be making some too."""
    gpus = visible_gpus() if profile.gpus_per_node else ()
    by_memory = max(1, int(usable_memory_gb() // (profile.memory_gb or TRIAL_GB)))
    most = concurrent or profile.max_concurrent or min(len(gpus) or usable_cores(), by_memory)
    while missing := order.missing:
        before, count = order.num_done, max(1, min(most, len(missing), len(gpus) or most))

        def together(so_far: int, before: int = before) -> None:
            made(before + so_far)

        work_together(WORKER, order.model_dump_json(), (), count, together, gpus=gpus)
        if order.missing:
            time.sleep(OTHERS_S)
    made(len(order.probes))


def _on_cluster(order: ProbeOrder, profile: ClusterProfile, tell: Tell, made: Callable[[int], None]) -> None:
    work = order.folder / f"array-{order.digest}"
    write_text(work / "order.json", order.model_dump_json(indent=1) + "\n")

    def tick() -> int:
        made(order.num_done)
        return order.num_done

    if order.missing:
        run_array(
            profile, f"probe-{order.digest}", work / "logs", TASK, (str(work / "order.json"),),
            min(profile.array_limit, len(order.missing)),
            is_done=lambda: not order.missing, tick=tick, tell=tell,
        )  # fmt: skip
    tick()


def reports(order: ProbeOrder) -> list[PartReport]:
    """What the parts that are there took.

    Raises:
        UserError: a report cannot be read.
    """
    return [read_report(path.with_suffix(".json")) for path in order.parts if path.exists()]


def read_report(path: Path) -> PartReport:
    """One part's.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return PartReport.model_validate(read_json(path))
    except (OSError, ValueError, ValidationError) as error:
        remedy = f"Delete the part beside it and run the sweep again: {path.with_suffix('.parquet')}."
        raise UserError(path, "the report of a part of probes must be readable", first_line(error), remedy) from None
