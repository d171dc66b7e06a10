"""What the folders of a sweep and its trials tell a tracker: who a run is, its points, how it stands."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vprdist.errors import UserError
from vprdist.files import digest_json
from vprdist.spec.result import ResultRow, SetResult, VariantResult
from vprdist.spec.secret import hidden
from vprdist.store.manifest import manifest_path, sweep_file, with_seed
from vprdist.store.trial_folder import TrialFolder
from vprdist.trackers.base import Point, RunFacts, Standing, State

NO_NUMBERS = ("kind", "step", "time")
"""Fields of a row that say where its numbers stand."""
PAGES = ("leaderboard.html", "leaderboard.csv", "leaderboard.md")


def run_id_of(sweep: str, trial_id: str) -> str:
    """The name of a trial's run: one for each sweep that has it, which may call and compare it otherwise."""
    return f"{trial_id}-{digest_json(sweep, 8)}"


def facts_of_trial(sweep: str, entry: Mapping[str, Any], folder: TrialFolder, several_seeds: bool) -> RunFacts:
    """The identity of a trial's run; without a trial's file that can be read it has no configuration.

    Args:
        entry: the trial's, of the sweep's manifest.
    """
    config: dict[str, Any] = {}
    with contextlib.suppress(UserError):
        config = folder.trial().to_json()
    row, seed = entry["name"], entry["seed"]
    return RunFacts(
        run_id=run_id_of(sweep, folder.trial_id),
        kind="trial",
        name=with_seed(row, seed) if several_seeds else row,
        group=row,
        config=config,
        labels={"sweep": sweep, "row": row, "trial": folder.trial_id, "seed": str(seed)},
    )


def facts_of_sweep(sweep: str, folder: Path) -> RunFacts:
    """The identity of the run of the sweep itself."""
    config: Any = {}
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError):
        config = yaml.safe_load(sweep_file(folder).read_text(encoding="utf-8"))
    config = config if isinstance(config, dict) else {}
    name, run_id = f"sweep {sweep}", f"sweep-{digest_json(sweep, 8)}"
    return RunFacts(run_id=run_id, kind="sweep", name=name, group=name, config=config, labels={"sweep": sweep})


def points_of(rows: Sequence[Mapping[str, Any]], first: int) -> list[Point]:
    """The points of rows of `metrics.jsonl`: every number of each that has a step.

    Args:
        first: the number of the first one.
    """
    points = list[Point]()
    for row in rows:
        numbers = dict(_numbers({name: each for name, each in row.items() if name not in NO_NUMBERS}, row["kind"]))
        if numbers and isinstance(row.get("step"), int):
            time = float(row.get("time") or 0.0)
            points.append(Point(number=first + len(points), step=row["step"], time=time, numbers=numbers))
    return points


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _numbers(each, f"{name}/{key}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, float(value)


def state_of(folder: TrialFolder, stopped: bool) -> State | None:
    """How a trial stands in a sweep, None where it was never started. As the sweep's own book: a result counts most."""
    if folder.has_result:
        return "finished"
    if stopped:
        return "stopped early"
    if (failure := folder.failure()) is not None:
        return "cancelled" if failure.kind == "cancelled" else "failed"
    return "running" if folder.starts_file.exists() or folder.metrics_file.exists() else None


def standing_of(folder: TrialFolder, state: State) -> Standing:
    """How a trial stands, with its results where it has some."""
    notes: dict[str, str] = {"starts": str(_num_starts(folder))}
    if state == "finished":
        try:
            row = folder.result()
        except UserError as error:
            return Standing(state=state, notes={**notes, "result": _said(str(error))})
        return Standing(
            state=state, step=row.steps, ended_at=folder.result_file.stat().st_mtime,
            results=dict(_results(row)), notes={**notes, **_notes(row)},
        )  # fmt: skip
    if state in ("failed", "cancelled") and (failure := folder.failure()) is not None:
        notes |= {"why": _said(failure.reason), "attempts": str(failure.attempts), "ending": failure.kind}
        return Standing(state=state, ended_at=failure.at, notes=notes)
    return Standing(state=state, notes=notes)


def standing_of_sweep(folder: Path, states: Sequence[State | None], driven: bool) -> Standing:
    """How a sweep stands: it is finished when nobody drives it and no trial is left to be run."""
    pages = tuple(path for name in PAGES if (path := folder / name).is_file())
    counts = {f"trials/{state}": float(states.count(state)) for state in dict.fromkeys(states) if state}
    over = bool(states) and not driven and all(state not in (None, "running") for state in states)
    ended_at = max(path.stat().st_mtime for path in (*pages, manifest_path(folder)))
    results = {"trials": float(len(states)), **counts}
    return Standing(state="finished" if over else "running", ended_at=ended_at, results=results, files=pages)


def _results(row: ResultRow) -> Iterator[tuple[str, float]]:
    alone = ("steps", "final_loss", "wall_s", "train_s", "peak_memory_mb", "num_ranks", "starts")
    yield from _numbers({name: getattr(row, name, None) for name in alone}, "result")
    yield from _numbers(row.metrics, "result")
    for name in row.not_finite:
        yield f"result/{name}", float("nan")
    for name in ("untrained", "city_metrics", "mask_weights"):
        yield from _numbers(getattr(row, name, None), f"result/{name}")
    for variant in row.variants:
        yield from _of_variant(variant, f"result/{_name(variant)}")
    for other in row.others:
        yield from _of_variant(other, f"result/{other.data_set}")
        for variant in other.variants:
            yield from _of_variant(variant, f"result/{other.data_set}/{_name(variant)}")


def _of_variant(variant: VariantResult, name: str) -> Iterator[tuple[str, float]]:
    yield from _numbers(variant.metrics, name)
    yield from _numbers(variant.city_metrics, f"{name}/city_metrics")


def _name(variant: VariantResult) -> str:
    """Variants differ in their protocol alone: it names them."""
    return f"variant {variant.protocol.fingerprint}"


def _notes(row: ResultRow) -> dict[str, str]:
    notes = {"protocol fingerprint": row.fingerprint, "device": row.device}
    if row.protocol is not None:
        notes["protocol"] = row.protocol.summary
    every: list[VariantResult | SetResult] = [*row.variants, *row.others, *(v for o in row.others for v in o.variants)]
    notes |= {f"protocol {each.protocol.fingerprint}": each.protocol.summary for each in every}
    if row.fallbacks:
        notes["fallbacks"] = "; ".join(row.fallbacks)
    if row.source is not None:
        notes["code"] = row.source.digest
    return notes


def _num_starts(folder: TrialFolder) -> int:
    with contextlib.suppress(UserError, OSError):
        return len(folder.all_starts())
    return 0


def _said(text: str) -> str:
    return hidden(text, os.environ)
