"""Makes results, their per-query files and whole sweeps as jobs leave them, and worlds whose truth is known."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from vprdist.console import Console
from vprdist.files import append_json_line, write_json, write_text
from vprdist.parquet import write_parquet
from vprdist.report.board_page import page_path
from vprdist.report.evidence import weigh
from vprdist.report.publish import leaderboard
from vprdist.report.rows import group_rows
from vprdist.spec.data import DataSpec
from vprdist.spec.input import InputSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.result import QUERY_COLUMNS, Protocol, ResultRow
from vprdist.spec.row_name import row_name
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.spec.vocabulary import PAPER_TRAIN, PAPER_VALIDATE
from vprdist.store.queries import METRICS, queries_path, read_queries

DEPTH = 20
QUERIES = 240
KEYS = [f"{metric}@{k}" for metric in ("recall", "map") for k in (1, 5, 10, 20)]
HOSTILE = '<script>document.title="owned"</script> "quoted\' & &amp; \u202eright to left\u202c ' + "x" * 300


def scores(hits: Sequence[bool], num_positives: int) -> dict[str, float]:
    """recall@k and mAP@k of one query, the slow way."""
    return dict(_scores(tuple(hits), num_positives))


@cache
def _scores(hits: tuple[bool, ...], num_positives: int) -> dict[str, float]:
    out: dict[str, float] = {}
    for metric in METRICS:
        name, k = metric.split("@")
        first = list(hits[: int(k)])
        precision = [sum(first[: rank + 1]) / (rank + 1) for rank, hit in enumerate(first) if hit]
        out[metric] = float(any(first)) if name == "recall" else sum(precision) / min(num_positives, int(k))
    return out


def record(
    query: str, hits: Sequence[bool], *, city: str = "b", sequence: str = "s", frame: int = 0, subtask: str = "all",
    retrieved: Sequence[str] | None = None, positives: Sequence[str] = ("right",), direction: str = "Forward",
    place: tuple[float, float] = (0.0, 0.0), night: bool = False,
) -> dict[str, Any]:  # fmt: skip
    found = list(retrieved) if retrieved is not None else [f"image{i}" for i in range(len(hits))]
    return {
        "subtask": subtask, "city": city, "query": query, "sequence_key": sequence, "frame_number": frame,
        "view_direction": direction, "night": night, "easting": place[0], "northing": place[1], "ca": 90.0,
        "num_positives": len(positives), "retrieved": found[:DEPTH], "hits": list(hits[:DEPTH]),
        "positives": list(positives[:5]), **scores(hits, len(positives)),
    }  # fmt: skip


def records_of(
    share: float, seed: int, *, noise: float = 0.05, direction=lambda i: "Forward" if i % 3 else "Left", order=None
):
    """Queries of two cities and eight drives; the first `share` of a hidden order of drives are found."""
    luck = np.random.default_rng(seed)
    hard = np.random.default_rng(99).random(QUERIES) + luck.normal(0, noise, QUERIES)
    out = []
    for i in range(QUERIES):
        drive, frame = divmod(i, 30)
        hit = bool(hard[i] < share)
        common = {"city": "ab"[drive % 2], "sequence": f"d{drive}", "frame": frame, "direction": direction(i)}
        out.append(record(f"q{i}", [False, hit, True], positives=("right", "left"), **common))
        out[-1] |= {"recall@1": float(hit), "map@1": float(hit)}
        if i % 4 == 0:
            out.append(record(f"q{i}", [hit], subtask="s2w", **common))
    return [out[i] for i in (order if order is not None else range(len(out)))]


def write_queries(trial_folder: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    path = trial_folder / "predictions" / "queries.parquet"
    write_parquet(path, records, QUERY_COLUMNS)
    return path


def consistent(one: ResultRow, records: Sequence[Mapping[str, Any]] | None) -> ResultRow:
    """The result with the metrics that its per-query records average to."""
    own = [record for record in records or () if record["subtask"] == one.protocol.subtask]
    if not own:
        return one
    return one.model_copy(update={"metrics": {name: fmean(record[name] for record in own) for name in METRICS}})


def result(
    recall, *, mode="rgb", unfreeze="0-2", seed=0, subtask="all", num_queries=100, reduce="mean", margin=0.5, **more
) -> ResultRow:
    trial = TrialSpec(
        data=DataSpec(train=("a",), validate_cities=("b",)),
        input=InputSpec(mode=mode, mask_reduce=reduce),
        network=NetworkSpec(unfreeze=unfreeze),
        train=TrainSpec(margin=margin),
        seed=seed,
    ).resolved(Digests(dataset="d", cache="c" if mode != "rgb" else None, weights="w"))
    protocol = Protocol(
        dataset="v", cities=("b",), subtask=subtask, gallery="city", positive_radius_m=25.0, image_size=(96, 128),
        num_queries=num_queries, num_database=50,
    )  # fmt: skip
    fields = {
        "metrics": dict.fromkeys(KEYS, recall), "untrained": dict.fromkeys(KEYS, 0.1), "steps": 3, "final_loss": 0.1,
        "wall_s": 10.0, "train_s": 5.0, "num_ranks": 1, "device": "cpu x1", "peak_memory_mb": 1.0, "starts": 1,
    } | more  # fmt: skip
    return ResultRow(trial_id=trial.trial_id, trial=trial, protocol=protocol, **fields)


def of_the_paper(one: ResultRow) -> ResultRow:
    """The result as if it came from the paper's cities of MSLS."""
    data = DataSpec(root="/data/msls", train=PAPER_TRAIN, validate_cities=PAPER_VALIDATE)
    trial = one.trial.model_copy(update={"data": data})
    protocol = one.protocol.model_copy(update={"cities": PAPER_VALIDATE})
    return one.model_copy(update={"trial_id": trial.trial_id, "trial": trial, "protocol": protocol})


def rows_of(*results, objective="recall@1"):
    names = {r.trial_id: row_name(r.trial, ["input.mode", "network.unfreeze"]) for r in results}
    return group_rows(results, names, objective)


def judged(tmp_path, files, baselines=None, objective="recall@1"):
    """`files`: [(result, records or None)]."""
    files = [(consistent(one, records), records) for one, records in files]
    for one, records in files:
        if records is not None:
            write_queries(tmp_path / one.trial_id, records)
    rows = rows_of(*(one for one, _ in files), objective=objective)
    return weigh(rows, objective, lambda trial: read_queries(queries_path(tmp_path / trial)), baselines)


def leave(runs: Path, rows, name="mine", names=None) -> Path:
    """A sweep's folders as a driver and its jobs leave them; `rows`: [(result, records or None)]."""
    folder = runs / "sweeps" / name
    entries = []
    rows = [(consistent(one, records), records) for one, records in rows]
    for index, (one, records) in enumerate(rows):
        trial = runs / "trials" / one.trial_id
        row = names[index] if names else f"{one.trial.input.mode} {one.trial.network.unfreeze_name}"
        entries.append({"trial": one.trial_id, "name": row, "seed": one.trial.seed})
        write_text(trial / "result.json", one.model_dump_json(by_alias=True))
        write_json(trial / "trial.json", one.trial.to_json())
        for step in (5, 10):
            append_json_line(trial / "metrics.jsonl", {"kind": "train", "step": step, "steps": 10, "loss": 1 / step})
        append_json_line(trial / "metrics.jsonl", {"kind": "evaluate", "step": 10, "recall@1": one.metrics["recall@1"]})
        if records is not None:
            write_queries(trial, records)
    write_json(folder / "manifest.json", {"name": name, "objective": "recall@1", "trials": entries, "fallbacks": []})
    write_text(folder / "sweep.yaml", f"name: {name}\n# {HOSTILE}\n")
    return folder


def four(tmp_path: Path) -> Path:
    rows = [
        (result(0.5, wall_s=100.0), records_of(0.5, 0, noise=0.3)),
        (result(0.72, unfreeze="all", wall_s=9.0), records_of(0.72, 1, noise=0.3)),
        (result(0.6, mode="masked", wall_s=20.0), records_of(0.6, 2, noise=0.3)),
        (result(0.4, mode="masked", unfreeze="all", wall_s=30.0), None),
    ]
    return leave(tmp_path, rows)


def written(folder: Path, runs: Path) -> str:
    assert leaderboard(folder, runs, Console(file=io.StringIO(), width=200)) == 0
    return page_path(folder).read_text()


def world(
    rng: np.random.Generator, *, rows: int, seeds: int = 1, clusters: int = 30, mean_size: int = 8,
    seed_sd: float = 0.0, effect: float = 0.0, level: float = 0.0,
) -> tuple[list[np.ndarray], np.ndarray]:  # fmt: skip
    """Hits of rows and seeds on clustered queries: [(S, Q) zeros and ones a row], (Q,) cluster codes.

    A query is hit when a sum of normal noises (of its cluster, itself, the row, the seed) is positive. Row r is
    better by r times `effect`.
    """
    cluster = np.repeat(np.arange(clusters), rng.integers(1, 2 * mean_size, clusters))
    count = len(cluster)
    common = rng.normal(0, 1, clusters)[cluster] + rng.normal(0, 1, count)
    values = []
    for row in range(rows):
        own = level + effect * row + rng.normal(0, 0.35, clusters)[cluster] + rng.normal(0, 0.5, count)
        noise = rng.normal(0, 0.5, (seeds, count)) + rng.normal(0, 1, (seeds, 1)) * seed_sd * 3.75
        values.append(((common + own + noise) > 0).astype(float))
    return values, cluster
