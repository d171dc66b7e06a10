"""A trial whose recall is a known function of its learning rate, and a driver that searches for the best one.

`searching.py RUNS SEARCH_JSON`: drives; trials are jobs of this machine.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from toy import PROFILE, toy_result

from tests import warm
from vprdist.distributed.world import World
from vprdist.errors import SweepFileError
from vprdist.files import append_json_line, read_json_lines, write_json
from vprdist.search.book import Outcome
from vprdist.search.driver import run_search
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.search import Point, SearchSpec
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import Digests, RunSpec, TrialSpec
from vprdist.store.proposals import Proposals

JOB = "searching:run_searching"
STEPS, EVERY = 8, 2
PROFILE_4 = PROFILE.model_copy(update={"max_concurrent": 4})


def recall(lr: float) -> float:
    """Best at 0.01."""
    return max(0.0, 1 - abs(math.log10(lr) + 2) / 3)


def run_searching(trial: TrialSpec, folder: Path, world: World) -> None:
    """Half a second and more; worse trials are slower, so that there is something to stop.

    The worst take half a minute once their first value is known: whoever stops them comes in time on a busy machine.
    """
    value = recall(trial.train.lr)
    for step in range(1, STEPS + 1):
        time.sleep(0.08 if value > 0.6 else 0.4 if value > 0.1 or step <= EVERY else 5)
        row = {"kind": "train", "step": step, "steps": STEPS, "loss": 1 - value, "pairs_per_s": 1.0}
        append_json_line(folder / "metrics.jsonl", row)
        if step % EVERY == 0 and step < STEPS:
            append_json_line(folder / "metrics.jsonl", {"kind": "evaluate", "step": step, "recall@1": value})
    append_json_line(folder / "metrics.jsonl", {"kind": "evaluate", "step": STEPS, "recall@1": value})
    row = toy_result(trial).model_copy(update={"metrics": {"recall@1": value}})
    write_json(folder / "result.json", row.model_dump(mode="json", by_alias=True))


def resolve(point: Point) -> TrialSpec:
    """A point to its trial; one pair of values does not go together."""
    if point["train.lr"] == 0.001 and point.get("train.loss.margin") == 0.9:
        raise SweepFileError("train.loss.margin", "0.9 needs a larger rate", 0.9, "Change one.")
    train = TrainSpec(lr=point["train.lr"], margin=point.get("train.loss.margin", 0.5), steps=STEPS)
    return TrialSpec(train=train, run=RunSpec(evaluate_steps=EVERY)).resolved(
        Digests(dataset="d", cache=None, weights="w")
    )


def drive(runs: Path, search: SearchSpec, profile: ClusterProfile = PROFILE_4, grid: Any = ()) -> Outcome:
    """A whole search; the grid's points when there is no space."""
    return run_search(
        [resolve({"train.lr": lr}) for lr in grid],
        sweep_name="searching",
        objective="recall@1",
        profile=profile,
        runs=runs,
        job=JOB,
        search=search,
        proposals=Proposals(runs / "sweeps" / "searching" / "proposals.jsonl", resolve, "recall@1"),
    )


def spec(values: dict[str, Any]) -> SearchSpec:
    """A search section as a file has it."""
    return SearchSpec.model_validate_json(json.dumps(values))


def start(runs: Path, search: dict[str, Any], grid: tuple[float, ...] = ()) -> warm.Popen:
    """A driver in a process of its own."""
    command = [sys.executable, str(Path(__file__)), str(runs)]
    given = json.dumps({"search": search, "grid": grid})
    return warm.Popen([*command, given], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def journal(runs: Path) -> list[dict[str, Any]]:
    """What was proposed and stopped."""
    return read_json_lines(runs / "sweeps" / "searching" / "proposals.jsonl")[0]


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    out = drive(Path(sys.argv[1]), spec(given["search"]), grid=given["grid"])
    print(f"results {len(out.results)} failures {len(out.failures)} stopped {len(out.stopped)}")
