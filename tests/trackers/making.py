"""A sweep as drivers and jobs leave it on the disk, and what of it a tracker must have, found the slow way."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vprdist.files import append_json_line, write_text
from vprdist.source import Source
from vprdist.spec.doors import TrackerName
from vprdist.spec.result import Protocol, ResultRow, VariantResult
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.store.journal import Failure
from vprdist.store.manifest import Manifest, sweep_folder
from vprdist.store.proposals import proposals_path
from vprdist.store.tracked import TrackFolder
from vprdist.store.trial_folder import TrialFolder
from vprdist.trackers.base import Place
from vprdist.trackers.follower import Follower

NAME = "made"
STATES = ("finished", "failed", "cancelled", "stopped early", "running")
"""The states of the trials, in order."""
NAN, INF = float("nan"), float("inf")
T0 = 1_700_000_000.0


def made_sweep(tmp_path: Path, track: str = "", states: tuple[str, ...] = STATES) -> tuple[Path, list[TrialFolder]]:
    """A run folder with a sweep of one trial for each state; the first one was requeued once."""
    file, runs = tmp_path / "made.yaml", tmp_path / "runs"
    margins = [round(0.1 + 0.1 * i, 1) for i in range(len(states))]
    file.write_text(f"name: {NAME}\nsearch: {{grid: {{train.loss.margin: {margins}}}}}\n{track}\n")
    sweep = read_sweep(file)
    trials = [trial.resolved(Digests(dataset="d", cache=None, weights="w")) for trial in sweep.trials]
    book = Manifest(sweep_folder(runs, NAME), sweep, ())
    for trial in trials:
        book.add(trial)
    book.write()
    folders = [TrialFolder.of(runs, trial.trial_id) for trial in trials]
    for trial, folder, state in zip(trials, folders, states, strict=True):
        folder.write_trial(trial)
        start(folder, 0)
        add_rows(folder, 0, 3)
        if state == "finished":
            start(folder, 1)  # a requeue
            add_rows(folder, 3, 6)
        end(runs, trial, folder, state)
    return runs, folders


def start(folder: TrialFolder, number: int) -> None:
    folder.add_start({"time": T0 + number, "host": "n1", "token": f"{number:016x}"})


def add_rows(folder: TrialFolder, first: int, last: int) -> None:
    """Train rows first to last - 1; before them an evaluation without training, after each an evaluation."""
    seed = int(folder.trial_id[:4], 16) / 65536
    if first == 0:
        append(folder, kind="source", source="abc", resumes=0)
        append(folder, kind="untrained", step=0, **{"recall@1": seed / 3, "map@5": 0.25}, time=T0)
    for i in range(first, last):
        loss = NAN if i == 1 else 0.1 + 0.2 + i + seed
        at = {"step": 10 * i + 10, "time": T0 + 60 * i + 0.123}
        append(folder, kind="train", steps=100, loss=loss, pairs_per_s=1e-3 + i, left_s=5, **at)
        append(folder, kind="evaluate", **{"recall@1": 1 / (i + 3), "recall@5": 0.5}, **at)
        append(folder, kind="checkpoint", step=10 * i + 10, time=T0 + 60 * i)


def append(folder: TrialFolder, **row: Any) -> None:
    append_json_line(folder.metrics_file, row)


def end(runs: Path, trial: TrialSpec, folder: TrialFolder, state: str) -> None:
    if state == "finished":
        folder.write_result(result_of(trial))
    elif state in ("failed", "cancelled"):
        kind = "died" if state == "failed" else "cancelled"
        folder.write_failure(Failure(reason="it went wrong", attempts=2, kind=kind, at=T0 + 999))
    elif state == "stopped early":
        row = {"kind": "stopped", "trial": trial.trial_id, "value": 0.2, "step": 30}
        append_json_line(proposals_path(sweep_folder(runs, NAME)), row)


def result_of(trial: TrialSpec) -> ResultRow:
    protocol = Protocol(
        dataset="v", cities=("b",), subtask="all", gallery="city", positive_radius_m=25.0, image_size=(96, 128),
        num_queries=10, num_database=50,
    )  # fmt: skip
    metrics = {"recall@1": 2 / 3, "map@5": 0.1 + 0.2}
    variant = VariantResult(
        protocol=protocol.model_copy(update={"dimensions": 64}), metrics={"recall@1": 0.125},
        city_metrics={"b": {"recall@1": 0.0625}},
    )  # fmt: skip
    return ResultRow(
        trial_id=trial.trial_id, trial=trial, protocol=protocol, metrics=metrics, untrained={"recall@1": 1 / 7},
        city_metrics={"b": {"recall@1": 1 / 9}}, variants=(variant,), steps=100, final_loss=1 / 11, wall_s=12.5,
        train_s=10.0, num_ranks=1, device="cpu x1", peak_memory_mb=1.5, starts=2, fallbacks=("no GPU",),
        source=Source(version="0.1.0", digest="abcdef0123456789"),
    )  # fmt: skip


def write_pages(runs: Path, text: str = "| R@1 |\n|---|\n| 66.7 |\n") -> list[Path]:
    folder = sweep_folder(runs, NAME)
    for kind in ("html", "csv", "md"):
        write_text(folder / f"leaderboard.{kind}", text)
    return [folder / f"leaderboard.{kind}" for kind in ("html", "csv", "md")]


def follower(runs: Path, choice: TrackerName | str) -> Follower:
    """One in this process, as the tracker's own process makes it."""
    choice = TrackerName.of(choice) if isinstance(choice, str) else choice
    place = TrackFolder(sweep_folder(runs, NAME), choice.title)
    return Follower(runs, NAME, place, lambda: choice.make(place=Place(sweep=NAME, folder=place.store)))


def rows_of(folder: TrialFolder) -> Iterator[tuple[str, int, float, float]]:
    """Every number of `metrics.jsonl` as (kind/name, step, time, value), read without the package."""
    for line in folder.metrics_file.read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name not in ("kind", "step", "time", "source") and "step" in row:
                yield f"{row['kind']}/{name}", row["step"], row["time"], float(value)


def results_of(folder: TrialFolder) -> dict[str, float]:
    """The numbers of `result.json` that trackers show, read without the package."""
    row = json.loads(folder.result_file.read_text())
    out = {f"result/{name}": row[name] for name in (
        "steps", "final_loss", "wall_s", "train_s", "peak_memory_mb", "num_ranks", "starts")}  # fmt: skip
    out |= {f"result/{name}": value for name, value in row["metrics"].items()}
    out |= {f"result/untrained/{name}": value for name, value in row["untrained"].items()}
    out |= {f"result/city_metrics/b/{name}": value for name, value in row["city_metrics"]["b"].items()}
    fingerprint = folder.result().variants[0].protocol.fingerprint
    variant = row["variants"][0]
    out |= {f"result/variant {fingerprint}/{name}": value for name, value in variant["metrics"].items()}
    cities = variant["city_metrics"]["b"].items()
    return out | {f"result/variant {fingerprint}/city_metrics/b/{name}": value for name, value in cities}


def comparable(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows in one order, with NaN as a word: it is not equal to itself."""
    worded = (tuple("NaN" if isinstance(x, float) and math.isnan(x) else x for x in row) for row in rows)
    return sorted(worded, key=repr)
