"""Every file of a run folder, as a driver and its jobs leave them, under the commands that look at them."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.commands import command
from tests.fuzz.format import Format
from tests.report.making import leave, record, result
from vprdist.errors import LaunchError
from vprdist.files import append_json_line, write_json
from vprdist.spec.attribution import AttributionReport, Effect, PlayerRow, SettingRow
from vprdist.spec.result import ResultRow
from vprdist.store.attribution_file import attribution_path, read_attribution
from vprdist.store.driving import DriverRecord, cancel_rest, check_wanted, driver_folder, want_again, write_driver
from vprdist.store.journal import Failure, JobRecord, job_name
from vprdist.store.queries import queries_path, read_answers, read_queries
from vprdist.store.seen import SeenPictures, read_pictures, read_shards, write_pictures, write_shards
from vprdist.store.trial_folder import TrialFolder

NAME = "mine"
CITY = "0" * 16


@functools.cache
def rows() -> list[ResultRow]:
    """Done, done, failed, submitted, without a job."""
    return [
        result(0.5, seed=seed, unfreeze=layers) for seed, layers in ((0, "0-2"), (1, "0-2"), (0, "all"), (1, "all"))
    ]


def records(share: float) -> list[dict[str, Any]]:
    pair = ("right", "left")
    return [record(f"q{i}", [i % 4 < 4 * share], positives=pair, sequence=f"d{i % 3}", frame=i) for i in range(12)]


def make(folder: Path) -> None:
    """A sweep with all that can lie in its folder."""
    done, other, failed, running = rows()
    sweep = leave(folder, [(done, records(0.5)), (other, records(0.75)), (failed, None), (running, None)], NAME)
    (sweep / "sweep.yaml").write_text(f"name: {NAME}\nscale: demo\n")
    for row in (failed, running):
        TrialFolder.of(folder, row.trial_id).result_file.unlink()
    for row in rows():
        place = TrialFolder.of(folder, row.trial_id)
        place.write_job(journal(row.trial_id))
        place.add_start({"time": 1e9, "host": "node1", "token": "abcd0123", "start": "abcd0123-0"})
        log = place.attempt_log(journal(row.trial_id))
        log.mkdir(parents=True)
        (log / "7_0_log.out").write_text("step 5/10\nstep 10/10\n")
        (place.path / "checkpoint").mkdir()
        (place.path / "checkpoint" / "step5.pt").write_bytes(b"x")
    TrialFolder.of(folder, failed.trial_id).write_failure(Failure(reason="it died", attempts=3, log_lines=("no",)))
    write_driver(
        sweep, DriverRecord(job_id="12", name="d", log=str(driver_folder(sweep) / "driver.log"), submitted_at=1e9)
    )
    cancel_rest(sweep, "somebody")
    for row in (
        {"kind": "stopped", "trial": "x", "step": 5, "value": 0.5},
        {"kind": "refused", "point": {"a": 1}, "why": "no"},
    ):
        append_json_line(sweep / "proposals.jsonl", row)
    effect = Effect(value=0.1, low=0.0, high=0.2)
    player = PlayerRow(player="sky", classes=("sky",), adds=effect, claim="none", bound=0.1)
    setting = SettingRow(
        setting={"input.mode": "masked"}, method="shapley", confidence=0.95, nobody=0.1, num_queries=12, num_seeds=1,
        players=(player,),
    )  # fmt: skip
    report = AttributionReport(objective="recall@1", settings=(setting,))
    write_json(attribution_path(sweep), report.model_dump(mode="json"))
    write_pictures(folder, CITY, SeenPictures(np.arange(1, 9, dtype=np.uint64), np.arange(8, dtype=np.uint64)))
    write_shards(folder, Path("/cache"), {"ab": 7})
    write_json(
        sweep / "preparing.json",
        {"what": "cache", "done": 1, "total": 3, "first": 0, "began": 1e9, "objective": "recall@1"},
    )


def journal(trial: str) -> JobRecord:
    return JobRecord(
        state="submitted", cluster="local", name=job_name(trial), token="abcd0123", attempt=1, job="m:f",
        parameters={"nodes": 1, "tasks_per_node": 1}, machine="elsewhere", job_id="7", pid=2**30, pid_start=5,
    )  # fmt: skip


def status(folder: Path) -> str:
    return command("status", NAME, "--runs", str(folder))


def sweeps(folder: Path) -> str:
    return command("status", "--runs", str(folder)) + command("status", NAME, "--json", "--runs", str(folder))


def leaderboard(folder: Path) -> str:
    return command("leaderboard", NAME, "--runs", str(folder), also=(0, 1))


def retry(folder: Path) -> str:
    return command("retry", NAME, "--list", "--runs", str(folder))


def cancel(folder: Path) -> str:
    return command("cancel", NAME, *(row.trial_id for row in rows()), "--yes", "--runs", str(folder), also=(0, 1))


def prune(folder: Path) -> str:
    return command("prune", "--yes", "--orphans", "--runs", str(folder))


def logs(folder: Path) -> str:
    return command("logs", rows()[0].trial_id, "--all", "--runs", str(folder))


def export(folder: Path) -> object:
    return TrialFolder(folder / done).trial()


def queries(folder: Path) -> object:
    path = queries_path(folder / done)
    found = read_queries(path)
    if found is None:
        return None
    return len(found.query), read_answers(path, [("b", "q0")], "all")


def wanted(folder: Path) -> object:
    sweep = folder / SWEEP
    with contextlib.suppress(LaunchError):
        check_wanted(sweep)
    want_again(sweep, math.inf)
    return check_wanted(sweep)


def seen(folder: Path) -> object:
    return read_pictures(folder, CITY), read_shards(folder, Path("/cache"))


def attribution(folder: Path) -> object:
    return read_attribution(attribution_path(folder / SWEEP))


SWEEP = f"sweeps/{NAME}"
done, other, failed, running = (f"trials/{row.trial_id}" for row in rows())
LOG = f"{running}/log/attempt-1-abcd0123/7_0_log.out"
READ: list[tuple[str, str, Callable[[Path], object], float]] = [
    ("failure.json", f"{failed}/failure.json", status, 0.5),
    ("failure.json", f"{failed}/failure.json", leaderboard, 0.01),
    ("failure.json", f"{failed}/failure.json", retry, 0.5),
    ("failure.json", f"{failed}/failure.json", cancel, 0.2),
    ("failure.json", f"{failed}/failure.json", prune, 0.2),
    ("job.json", f"{running}/job.json", status, 0.5),
    ("job.json", f"{running}/job.json", leaderboard, 0.01),
    ("job.json", f"{running}/job.json", cancel, 0.2),
    ("job.json", f"{running}/job.json", prune, 0.2),
    ("trial.json", f"{done}/trial.json", export, 1.0),
    ("trial.json", f"{done}/trial.json", leaderboard, 0.01),
    ("result.json", f"{done}/result.json", status, 0.3),
    ("result.json", f"{done}/result.json", sweeps, 0.3),
    ("result.json", f"{done}/result.json", leaderboard, 0.03),
    ("metrics.jsonl", f"{running}/metrics.jsonl", status, 0.5),
    ("metrics.jsonl", f"{done}/metrics.jsonl", leaderboard, 0.02),
    ("starts.jsonl", f"{running}/log/starts.jsonl", sweeps, 0.5),
    ("log", LOG.replace(running, done), logs, 0.5),
    ("queries.parquet", f"{done}/predictions/queries.parquet", queries, 1.0),
    ("queries.parquet", f"{done}/predictions/queries.parquet", leaderboard, 0.02),
    ("manifest.json", f"{SWEEP}/manifest.json", sweeps, 0.4),
    ("manifest.json", f"{SWEEP}/manifest.json", leaderboard, 0.03),
    ("manifest.json", f"{SWEEP}/manifest.json", cancel, 0.2),
    ("manifest.json", f"{SWEEP}/manifest.json", prune, 0.2),
    ("sweep.yaml", f"{SWEEP}/sweep.yaml", leaderboard, 0.02),
    ("proposals.jsonl", f"{SWEEP}/proposals.jsonl", sweeps, 0.4),
    ("proposals.jsonl", f"{SWEEP}/proposals.jsonl", leaderboard, 0.01),
    ("driver/job.json", f"{SWEEP}/driver/job.json", status, 0.5),
    ("cancelled.json", f"{SWEEP}/cancelled.json", wanted, 1.0),
    ("preparing.json", f"{SWEEP}/preparing.json", sweeps, 0.4),
    ("attribution.json", f"{SWEEP}/attribution.json", attribution, 1.0),
    ("attribution.json", f"{SWEEP}/attribution.json", leaderboard, 0.03),
    ("pictures.npz", f"data/pictures/{CITY}.npz", seen, 1.0),
]
FORMATS = [
    Format(f"run/{name} ({read.__name__})", make, target, read, share=share) for name, target, read, share in READ
]  # fmt: skip
