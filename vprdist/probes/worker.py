"""`python -m vprdist.probes.worker INDEX COUNT`: makes parts of a probe order that no other process makes.

A process of its own, since it loads torch, which a driver never does. The order comes as JSON on standard input; what
it has to say goes to standard output, one JSON value a line: `made` (probes, by it), `error`. `make_part` is the same
as a task of a job array.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vprdist.data.layouts import layout_of
from vprdist.data.pack.use import settled_pack
from vprdist.data.tasks import breakdown_tasks, build_tasks
from vprdist.data.unchanged import check_unchanged
from vprdist.disk import full_disk
from vprdist.distributed.ranks import device_name, join
from vprdist.distributed.world import World
from vprdist.errors import UserError
from vprdist.evaluation.evaluate import Extra, evaluate_arms
from vprdist.files import read_json
from vprdist.machine import answers, keep_stdout_for_answers
from vprdist.network.inputs import KeptPictures
from vprdist.network.picture_store import store_of
from vprdist.probes.evaluate import Retrieved, make_parts, num_pictures_of
from vprdist.probes.order import ProbeOrder
from vprdist.probes.pooled import Asked, pooled
from vprdist.spec.arms import Arm
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.checks import check_cache, check_inputs, check_shards_of
from vprdist.training.run import whitening_cities
from vprdist.training.trained import trained_network


def work(order: ProbeOrder, index: int, count: int, advanced: Callable[[int], None]) -> None:
    """Make what is missing, beside `count` - 1 others.

    Raises:
        UserError: data, cache or checkpoint are not those of the trial any more.
    """
    if order.threads is not None:
        torch.set_num_threads(order.threads)
    folder = Path(order.trial)
    place = TrialFolder(folder)
    trial, said = settled_pack(place.trial(), place.trial().cities)
    check_inputs(trial)
    runs = place.path.parents[1]
    check_shards_of(trial, runs, lambda done, total: None)
    judged = trial.judged
    for note in (*said, *check_unchanged(trial.data, judged.data.validate_cities, runs)):
        print(note, flush=True)
    cities = [layout_of(trial.data).read(name) for name in judged.data.validate_cities]
    tasks = build_tasks(cities, judged)
    with join(World(), place.rendezvous_file) as ranks:
        network = trained_network(trial, folder).to(ranks.device)
        size = trial.evaluate.image_size or trial.train.image_size
        store = store_of(trial, size, folder.parents[1], lambda text: None)
        kept = KeptPictures(trial, [side for city in cities for side in city.sides], size, store)
        named, training = device_name(ranks.device), whitening_cities(trial)
        extra = Extra(breakdown_tasks(cities, judged))

        def check() -> None:
            check_cache(trial)

        def each(arms: Sequence[Arm]) -> list[Retrieved]:
            found = evaluate_arms(network, judged, tasks, arms, ranks, training=training, extra=extra, kept=kept)
            assert found is not None, "there is one rank"
            return [evaluation.subtasks for evaluation in found]

        retrieved: Callable[[Sequence[Arm]], Sequence[Retrieved]] = each
        if order.how == "pooled":
            asked = Asked(tasks, extra.subtasks, training)
            retrieved = pooled(order, network, judged, asked, kept, turn=index / count, device=named, check=check)
        make_parts(
            order, retrieved, num_pictures_of(tasks), table=trial.input.table,
            turn=len(order.parts) * index // count, advanced=advanced, device=named, check=check,
        )  # fmt: skip


def make_part(order_file: str, index: int, count: int) -> None:
    """One task of `count`."""
    order = ProbeOrder.model_validate(read_json(Path(order_file)), strict=False)
    work(order.model_copy(update={"threads": None}), index, count, lambda made: print(f"{made} probes", flush=True))
    print(f"task {index} of {count}: {order.num_done} of {len(order.probes)} probes are made")


def main(words: list[str]) -> int:
    """Returns the exit code: 2 for what a user can mend, which is also said on standard output."""
    made = 0

    def advanced(count: int) -> None:
        nonlocal made
        made += count
        print(json.dumps({"made": made}), file=answers(), flush=True)

    try:
        work(ProbeOrder.model_validate_json(sys.stdin.read()), int(words[0]), int(words[1]), advanced)
    except (UserError, OSError) as error:
        ours = error if isinstance(error, UserError) else full_disk(error, "Probes that are made are kept.")
        if ours is None:
            raise
        print(json.dumps({"error": ours.to_json()}), file=answers(), flush=True)
        return 2
    except KeyboardInterrupt:  # Ctrl-C reaches the whole process group; the driver tells the person
        return 130
    return 0


if __name__ == "__main__":
    keep_stdout_for_answers()
    sys.exit(main(sys.argv[1:]))
