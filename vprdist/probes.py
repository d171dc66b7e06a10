"""Probes of trials: their networks under many arms, on this machine or spread over a cluster as a job array."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from vprdist.attribution.probing import subsets_to_probe
from vprdist.console import Bar, Tell
from vprdist.files import write_text
from vprdist.launch.array import run_array
from vprdist.launch.capacity import TRIAL_GB, usable_memory_gb, visible_gpus
from vprdist.launch.folder import TrialFolder
from vprdist.launch.workers import work_together
from vprdist.machine import usable_cores
from vprdist.spec.probes import Probe, ProbeOrder
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.vocabulary import Placebo

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


def probes_of(sweep: SweepSpec, setting: Point) -> tuple[Probe, ...]:
    """What each network of a setting is evaluated under: every subset with its own mask, and with each placebo."""
    subsets = sweep.search.subsets
    assert subsets is not None
    chosen = subsets_to_probe(subsets.num_players, subsets.probes, sweep.search.seed)
    kinds: tuple[Placebo, ...] = ("none", *subsets.placebos)
    # Without its mask a network of mode rgb+mask still sees the picture; nobody has no placebo.
    nobody: tuple[Probe, ...] = ((0, "none"),) if sweep.nobody_runs(setting) else ()
    return nobody + tuple((subset, kind) for kind in kinds for subset in chosen)


def order_of(sweep: SweepSpec, setting: Point, network: TrialFolder) -> ProbeOrder:
    """The probes of one network of a sweep."""
    assert sweep.search.subsets is not None
    players = tuple(sweep.search.subsets.players.values())
    return ProbeOrder(trial=str(network.path), players=players, probes=probes_of(sweep, setting))
