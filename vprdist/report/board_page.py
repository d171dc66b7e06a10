"""The page of a sweep, from what its trials have left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vprdist.errors import UserError
from vprdist.files import MOST_JSON, read_bytes, write_text
from vprdist.report.board import Board
from vprdist.report.leaderboard import rows_of
from vprdist.report.learnt import LearntRow, learnt_rows
from vprdist.report.page.build import page
from vprdist.report.page.contents import MOST_LINES, Contents, Curve, NoPictures, Pictures, Progress
from vprdist.report.page.learnt import learnt_section, mask_sheets
from vprdist.report.shapley import class_values
from vprdist.spec.result import ResultRow
from vprdist.spec.vocabulary import METRICS
from vprdist.status.facts import Facts
from vprdist.status.find import find_sweep
from vprdist.status.status import look
from vprdist.store.manifest import sweep_file
from vprdist.store.queries import asked_path, read_answers
from vprdist.store.reading import found_in
from vprdist.store.rows import own_numbers
from vprdist.store.trial_folder import TrialFolder

LOGGED = ("untrained", "train", "evaluate")
"""Kinds of rows that have numbers of a step."""


def page_path(folder: Path) -> Path:
    """Where a sweep's page lies."""
    return folder / "leaderboard.html"


def write_page(
    board: Board, refresh_s: int | None, facts: Sequence[Facts] | None = None, published: bool = False
) -> None:
    """Publish the page.

    Args:
        refresh_s: how often an open page looks for a newer one; None: never.
        facts: of the sweep's trials, where they have just been looked at; None: they are looked at now.
        published: see `Wanted`.
    """
    sweep = find_sweep(board.runs, board.folder.name)
    left_out = board.left_out
    try:
        facts = look(sweep).facts if facts is None else facts
    except UserError as error:  # a journal that cannot be read costs the page its jobs, not the leaderboard
        facts, left_out = [], [*left_out, f"Jobs are not shown: {error}"]
    curves, broken = _curves(board)
    broken += [each.why for each in facts if each.why and each.state in ("done", "unreadable")]
    left_out = list(dict.fromkeys([*left_out, *(why for why in broken if not _is_told(why, left_out))]))
    written = ""
    try:
        written = read_bytes(sweep_file(board.folder), MOST_JSON).decode("utf-8")
    except (OSError, ValueError) as error:
        left_out = [*left_out, f"{sweep_file(board.folder)} is not shown: {found_in(error)}"]
    shown = [result for block in board.blocks for standing in block.standings for result in standing.row.results]
    subtasks = {result.asked: result.protocol.subtask for result in shown if result.protocol is not None}
    contents = Contents(
        title=board.title,
        objective=board.manifest["objective"],
        written=time.strftime("%Y-%m-%d %H:%M"),
        blocks=board.blocks,
        progress=[_progress(each, sweep.trials[each.trial]) for each in facts],
        curves=curves,
        queries=board.queries,
        answers=lambda asked, wanted: read_answers(asked_path(board.runs, asked), wanted, subtasks[asked]),
        pictures=_pictures(board.results),
        sweep_file=written,
        manifest=_to_repeat(board),
        left_out=left_out,
        refresh_s=refresh_s,
        gpus=any(each.gpus for each in facts),
        attribution=board.attribution,
        probes=board.probes,
        published=published,
        learnt=learnt_section(learnt_of(board), mask_sheets(rows_of(board.blocks), board.runs)),
    )
    write_text(page_path(board.folder), page(contents))


def learnt_of(board: Board) -> list[LearntRow]:
    """The run folder's other sweeps are read where a mask weighs classes only."""
    told = any(each.mask_weights for each in board.results)
    return learnt_rows(board.blocks, class_values(board.runs) if told else ())


def _is_told(problem: str, lines: Sequence[str]) -> bool:
    """A file is named once: by the table where it costs a row, else by what else it costs."""
    return any(problem.split(": ")[0] in line for line in lines)


def _pictures(results: Sequence[ResultRow]) -> Pictures:
    from vprdist.report.pictures import pictures_of

    evaluated = [result.trial for result in results if result.protocol is not None]
    if results and not evaluated:
        return NoPictures("numbers of a program's own come without pictures.")
    return pictures_of(evaluated[0]) if evaluated else NoPictures("no trial has a result yet.")


def _progress(facts: Facts, folder: TrialFolder) -> Progress:
    failure = folder.failure() if facts.state in ("failed", "cancelled", "unreadable") else None
    return Progress(
        trial=facts.trial, name=facts.name, state=facts.state, spent_h=facts.spent_h, wasted_h=facts.wasted_h,
        why=facts.why, log_lines=failure.log_lines if failure is not None else (),
    )  # fmt: skip


def _curves(board: Board) -> tuple[list[Curve], list[str]]:
    """The curves of the first rows, and why others are not there; while no row has a result, of the first trials."""
    objective, names = board.manifest["objective"], board.manifest["names"]
    rows = [s.row for block in board.blocks for s in block.standings if not s.row.is_variant][:MOST_LINES]
    shown = [(row.name, result.trial.seed, result.trial_id) for row in rows for result in row.results]
    if not shown:
        shown = [(names[entry["trial"]], entry["seed"], entry["trial"]) for entry in board.manifest["trials"]]
    own = objective not in METRICS or any(block.protocol is None for block in board.blocks)
    curves, broken = list[Curve](), list[str]()
    for name, seed, trial in shown[: 5 * MOST_LINES]:
        try:
            curves.append(_curve(name, seed, TrialFolder.of(board.runs, trial), objective, own))
        except UserError as error:  # the curve is lost, the result is not
            broken.append(str(error))
    return curves, broken


def _curve(name: str, seed: int, folder: TrialFolder, objective: str, own: bool) -> Curve:
    rows = folder.rows()[0]
    # What a killed job made after its last checkpoint was made again, and has two rows.
    loss = {row["step"]: float(row["loss"]) for row in rows if row["kind"] == "train" and "loss" in row}
    scores = {
        row["step"]: float(row[objective])
        for row in rows
        if row["kind"] in LOGGED and row.get("step") is not None and objective in own_numbers(row, every=True)
    }
    others = _others(rows, objective) if own else {}
    return Curve(
        row=name, seed=seed, loss=_thinned(sorted(loss.items())), objective=_thinned(sorted(scores.items())),
        others=others,
    )  # fmt: skip


def _others(rows: Sequence[Mapping[str, Any]], objective: str) -> dict[str, list[tuple[int, float]]]:
    """The other numbers that a program logged, by name."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["kind"] in LOGGED and row.get("step") is not None:
            for name, value in own_numbers(row).items():
                if name != objective:
                    found.setdefault(name, {})[row["step"]] = value
    return {name: _thinned(sorted(points.items())) for name, points in found.items()}


def _thinned(points: list[tuple[int, float]], most: int = 200) -> list[tuple[int, float]]:
    """Every so many, the last one always: a chart has no more pixels."""
    every = -(-len(points) // most) or 1
    return points[::-1][::every][::-1]


def _to_repeat(board: Board) -> dict[str, Any]:
    """The manifest, with what each trial was made of, by which code, and where it ran."""
    trials = []
    by_id = {result.trial_id: result for result in board.results}
    sources = {result.source.digest: asdict(result.source) for result in board.results if result.source is not None}
    for entry in board.manifest["trials"]:
        result = by_id.get(entry["trial"])
        made_of = result.trial.digests if result is not None else None
        code = {"source": result.source.digest} if result is not None and result.source is not None else {}
        trials.append(entry | ({} if made_of is None else {"digests": made_of.model_dump()}) | code)
    environments = [result.environment for result in board.results]
    kept = {key: value for key, value in board.manifest.items() if key not in ("names", "baselines", "trials")}
    return kept | {
        "environments": [
            dict(each) for each in {tuple(sorted(map(_pair, e.items()))): e for e in environments}.values()
        ][:8],
        "sources": list(sources.values())[:8],
        "trials": trials,
    }


def _pair(item: tuple[str, Any]) -> tuple[str, str]:
    return item[0], str(item[1])
