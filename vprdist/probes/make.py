"""Probes of trials: their networks under many arms, on this machine or spread over a cluster as a job array."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vprdist.console import Bar, Tell
from vprdist.files import write_text
from vprdist.game.probing import subsets_to_probe
from vprdist.launch.array import run_array
from vprdist.launch.array_folder import Array
from vprdist.launch.capacity import TRIAL_GB
from vprdist.launch.workers import work_together
from vprdist.machine import usable_cores, usable_memory_gb, visible_gpus
from vprdist.probes.order import BLOCK_PICTURES, Probe, ProbeOrder
from vprdist.probes.read import pictures_summed
from vprdist.search.subset_rule import network_point
from vprdist.spec.probes import How
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.vocabulary import Placebo
from vprdist.store.driving import Check, wanted_by_all
from vprdist.store.trial_folder import TrialFolder

WORKER = "vprdist.probes.worker"
TASK = f"{WORKER}:make_part"
OTHERS_S = 3.0
"""Seconds before another round, while somebody else makes the last parts."""


def make_probes(
    orders: Sequence[ProbeOrder], profile: ClusterProfile, tell: Tell, bar: Bar, concurrent: int | None = None,
    check: Check = wanted_by_all,
) -> None:  # fmt: skip
    """Make what is missing of some orders, one after the other; returns when all are complete.

    Args:
        profile: where: on this machine, or as job arrays of the cluster.
        concurrent: processes on this machine, at most; None: what the profile and the machine bear.
        check: called again and again; what it raises ends the processes of this machine.

    Raises:
        UserError: data, cache or checkpoint have changed; the cluster refuses the array, or its tasks keep dying.
        LaunchError: the probes are cancelled.
    """
    orders = list(dict.fromkeys(orders))  # points of a grid may be one trial, whose probes are made once
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
                check()
                advance(others + count, total)

            if profile.kind == "local":
                _here(order, profile, made, concurrent)
            else:
                _on_cluster(order, profile, tell, made, check)


def _here(order: ProbeOrder, profile: ClusterProfile, made: Callable[[int], None], concurrent: int | None) -> None:
    """Rounds of processes, one for each GPU or core, until every part is there: others may be making some too."""
    gpus = visible_gpus() if profile.gpus_per_node else ()
    by_memory = max(1, int(usable_memory_gb() // (profile.memory_gb or TRIAL_GB)))
    most = concurrent or profile.max_concurrent or min(len(gpus) or usable_cores(), by_memory)
    while order.missing:
        before, count = order.num_done, max(1, min(most, shares_of(order), len(gpus) or most))

        def together(so_far: int, before: int = before) -> None:
            made(before + so_far)

        work_together(WORKER, order.model_dump_json(), (), count, together, gpus=gpus)
        if order.missing:
            time.sleep(OTHERS_S)
    made(len(order.probes))


def shares_of(order: ProbeOrder) -> int:
    """Processes, or tasks of an array, that find work: arms of one part share sums that many can make.

    Raises:
        UserError: the network's result cannot be read.
    """
    missing = len(order.missing)
    if order.how != "pooled" or not missing:
        return missing
    summed, pictures = pictures_summed(order)
    return max(missing, -(-(pictures - summed) // BLOCK_PICTURES))


def array_of(order: ProbeOrder) -> Array:
    """The job array of an order."""
    return Array(f"probe-{order.digest}", order.folder / f"array-{order.digest}")


def _on_cluster(
    order: ProbeOrder, profile: ClusterProfile, tell: Tell, made: Callable[[int], None], check: Check
) -> None:
    array = array_of(order)
    write_text(array.order, order.model_dump_json(indent=1) + "\n")

    def tick() -> int:
        made(order.num_done)
        return order.num_done

    if order.missing:
        run_array(
            profile, array, TASK, (str(array.order),),
            min(profile.array_limit, shares_of(order)),
            root=Path(order.trial).parents[1], is_done=lambda: not order.missing, tick=tick, tell=tell, check=check,
        )  # fmt: skip
    tick()


def probes_of(sweep: SweepSpec, setting: Point) -> tuple[Probe, ...]:
    """What each network of a setting is evaluated under: every subset with its own mask, and with each placebo."""
    subsets = sweep.subsets_at(setting)
    chosen = subsets_to_probe(subsets.num_players, subsets.probes, sweep.search.seed)
    kinds: tuple[Placebo, ...] = ("none", *subsets.placebos)
    # Without its mask a network of mode rgb+mask still sees the picture; nobody has no placebo.
    nobody: tuple[Probe, ...] = ((0, "none"),) if sweep.nobody_runs(setting) else ()
    return nobody + tuple((subset, kind) for kind in kinds for subset in chosen)


def orders_of(sweep: SweepSpec, setting: Point, network_at: Callable[[Point], TrialFolder | None]) -> list[ProbeOrder]:
    """The probes of a setting's networks, one order for each that has a result.

    Args:
        network_at: the trial of a network's point; None where it has no result.
    """
    found = [network_at(network_point(sweep, setting, seed)) for seed in sweep.seeds]
    return [order_of(sweep, setting, network) for network in found if network is not None]


def order_of(sweep: SweepSpec, setting: Point, network: TrialFolder) -> ProbeOrder:
    """The probes of one network of a sweep."""
    players = tuple(sweep.subsets_at(setting).players.values())
    how: How = "pooled" if sweep.pools_at(setting) else "each"
    return ProbeOrder(trial=str(network.path), players=players, probes=probes_of(sweep, setting), how=how)
