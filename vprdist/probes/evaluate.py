"""One trained network under many arms, by inference only: parts of a `ProbeOrder`, each a Parquet file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from vprdist.data.places import City
from vprdist.data.tasks import Task
from vprdist.distributed.ranks import Ranks
from vprdist.evaluation.evaluate import Evaluation, Extra, evaluate_arms
from vprdist.evaluation.ranking import Ranking
from vprdist.files import locked, write_json
from vprdist.network.inputs import KeptPictures
from vprdist.network.model import PlaceNetwork
from vprdist.parquet import write_columns
from vprdist.probes.order import PROBE_COLUMNS, PartReport, ProbeOrder
from vprdist.spec.arms import Arm, classes_of
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import METRICS


def make_parts(
    order: ProbeOrder, network: PlaceNetwork, trial: TrialSpec, tasks: Sequence[Task], extra: Extra, ranks: Ranks, *,
    training: Sequence[City], kept: KeptPictures | None, turn: int, advanced: Callable[[int], None],
    device: str, check: Callable[[], None],
) -> None:  # fmt: skip
    """Make the parts that are missing and that nobody else is making.

    Args:
        extra: the subtasks whose queries are told apart too.
        turn: where in the order this process begins, so that processes seldom meet.
        advanced: told how many probes were just made, by this process.
        check: called before each part, which opens the cache anew: raises where that is not the trial's any more.

    Raises:
        UserError: what `check` raises; pictures or masks that cannot be read, a network whose descriptors are not
            finite.
    """
    parts = list(order.parts.items())
    for path, probes in parts[turn:] + parts[:turn]:
        if path.exists():
            continue
        with locked(path.with_name(f".{path.stem}.lock"), blocking=False) as mine:
            if not mine or path.exists():
                continue
            check()
            begin = time.perf_counter()
            arms = [Arm(classes_of(order.players, subset, trial.input.table), placebo) for subset, placebo in probes]
            found = evaluate_arms(network, trial, tasks, arms, ranks, training=training, extra=extra, kept=kept)
            assert found is not None, "there is one rank"
            report = PartReport(
                probes=probes, num_pictures=_num_pictures(tasks), seconds=time.perf_counter() - begin,
                device=device, threads=_threads(),
            )  # fmt: skip
            write_json(path.with_suffix(".json"), report.model_dump(mode="json"))
            _write(path, found)
        path.with_name(f".{path.stem}.lock").unlink(missing_ok=True)
        advanced(len(probes))


def _num_pictures(tasks: Sequence[Task]) -> int:
    return sum(len(rows) for task in tasks for _, rows in task.sides)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _write(path: Path, found: Sequence[Evaluation]) -> None:
    columns: dict[str, list[object]] = {name: [] for name in PROBE_COLUMNS}
    for subtask in found[0].subtasks:
        rankings = [evaluation.subtasks[subtask] for evaluation in found]
        for name, values in zip(PROBE_COLUMNS, _columns(subtask, rankings), strict=True):
            columns[name].extend(values)
    write_columns(path, columns)


def _columns(subtask: str, rankings: Sequence[Ranking]) -> Iterator[Sequence[object]]:
    """One subtask's values of each column; `rankings` are those of the part's probes."""
    tasks = rankings[0].tasks
    places = [(task.city.name, str(task.city.query.keys[row])) for task in tasks for row in task.queries]
    yield [subtask] * len(places)
    yield [city for city, _ in places]
    yield [key for _, key in places]
    yield [list(each) for each in zip(*map(_nearest, rankings), strict=True)]
    for name in METRICS:
        by_probe = [np.concatenate([values[name] for values in ranking.values]) for ranking in rankings]
        yield list(np.stack(by_probe, axis=1).astype(np.float32))


def _nearest(ranking: Ranking) -> list[str | None]:
    """The key of the first image that was retrieved for each query; None from an empty gallery."""
    return [str(ranking.keys[rows[0]]) if len(rows) else None for task in ranking.retrieved for rows in task]
