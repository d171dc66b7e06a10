"""One trained network under many arms, by inference only: parts of a `ProbeOrder`, each a Parquet file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vprdist.data.tasks import Task
from vprdist.evaluation.ranking import Ranking
from vprdist.files import locked, write_json
from vprdist.parquet import write_columns
from vprdist.probes.order import PROBE_COLUMNS, PartReport, ProbeOrder
from vprdist.spec.arms import Arm, classes_of
from vprdist.spec.class_table import ClassTable
from vprdist.spec.vocabulary import METRICS

Retrieved = Mapping[str, Ranking]
"""By subtask, what was retrieved under one arm."""


def make_parts(
    order: ProbeOrder, retrieved: Callable[[Sequence[Arm]], Sequence[Retrieved]], num_pictures: int, *,
    table: ClassTable, turn: int, advanced: Callable[[int], None], device: str, check: Callable[[], None],
) -> None:  # fmt: skip
    """Make the parts that are missing and that nobody else is making.

    Args:
        retrieved: evaluates the network under some arms.
        num_pictures: that are described for each arm.
        table: the classes that there are.
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
            found = retrieved([Arm(classes_of(order.players, subset, table), placebo) for subset, placebo in probes])
            report = PartReport(
                probes=probes, num_pictures=num_pictures, seconds=time.perf_counter() - begin, device=device,
                threads=_threads(), how=order.how,
            )  # fmt: skip
            write_json(path.with_suffix(".json"), report.model_dump(mode="json"))
            _write(path, found)
        path.with_name(f".{path.stem}.lock").unlink(missing_ok=True)
        advanced(len(probes))


def num_pictures_of(tasks: Sequence[Task]) -> int:
    """Pictures that take part."""
    return sum(len(rows) for task in tasks for _, rows in task.sides)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _write(path: Path, found: Sequence[Retrieved]) -> None:
    columns: dict[str, list[object]] = {name: [] for name in PROBE_COLUMNS}
    for subtask in found[0]:
        rankings = [each[subtask] for each in found]
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
