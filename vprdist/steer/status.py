"""`vprdist status`: sweeps and their trials as a live table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vprdist.console import duration
from vprdist.files import read_json_lines
from vprdist.launch.detach import read_driver
from vprdist.steer.facts import Facts, Queue, dump, look_at_queue, read_facts
from vprdist.steer.find import Sweep, find_sweep, sweep_names

STYLES = {"done": "green", "running": "cyan", "failed": "red", "cancelled": "yellow", "stopped": "dim", "ended": "red"}
OVER = ("done", "failed", "cancelled", "stopped")


def stopped_trials(sweep: Path) -> dict[str, Mapping[str, Any]]:
    """What this sweep's scheduler stopped early, by trial id."""
    rows, _ = read_json_lines(sweep / "proposals.jsonl")
    return {row["trial"]: row for row in rows if row.get("kind") == "stopped"}


def look(sweep: Sweep) -> tuple[list[Facts], Queue]:
    """Every trial of a sweep, with at most one squeue."""
    queue, now = look_at_queue(sweep.trials.values()), time.time()
    stopped = stopped_trials(sweep.folder)
    facts = [
        read_facts(folder, sweep.names[i], sweep.objective, queue, stopped, now) for i, folder in sweep.trials.items()
    ]
    return facts, queue


def show_sweeps(runs: Path, console: Console) -> int:
    """A line for each sweep; the queue is not asked."""
    names = sweep_names(runs)
    if not names:
        console.print(f"No sweep was started in {runs}. Start one: vprdist sweep sweeps/table1.yaml")
        return 0
    table = Table("sweep", "trials", "done", "failed", "begun", "best", "driver")
    for name in names:
        sweep = find_sweep(runs, name)
        facts = [
            read_facts(folder, sweep.names[i], sweep.objective, Queue(None), stopped_trials(sweep.folder), time.time())
            for i, folder in sweep.trials.items()
        ]
        states = Counter(each.state for each in facts)
        best = max((each.objective for each in facts if each.objective is not None), default=None)
        begun = len(facts) - sum(states[state] for state in (*OVER, "waiting"))
        watched = "watches" if any(each.watched for each in facts) else "-"
        value = "-" if best is None else f"{sweep.objective} {best:.3f}"
        failed = states["failed"] + states["cancelled"]
        table.add_row(name, str(len(facts)), str(states["done"]), str(failed), str(begun), value, watched)
    console.print(table)
    console.print(f"One of them: vprdist status {names[-1]}")
    return 0


def show_sweep(runs: Path, name: str, console: Console, watch: bool, every_s: float, as_json: bool) -> int:
    """One sweep; with `watch` again and again until every trial is over."""
    sweep = find_sweep(runs, name)
    facts, queue = look(sweep)
    if as_json:
        print(dump(facts))
        return 0
    if not watch:
        console.print(render(sweep, facts, queue))
        return 0
    with Live(render(sweep, facts, queue), console=console, auto_refresh=False) as live:
        while not is_over(sweep, facts):
            time.sleep(every_s)
            sweep = find_sweep(runs, name)
            facts, queue = look(sweep)
            live.update(render(sweep, facts, queue), refresh=True)
    return 0


def render(sweep: Sweep, facts: Sequence[Facts], queue: Queue) -> RenderableType:
    """The table and what is below it."""
    unit = "GPU-hours" if any(each.gpus for each in facts) else "rank-hours"
    table = Table("trial", "name", "state", "steps", sweep.objective, "left", "node", unit, "wasted", "why")
    for each in facts:
        steps = "-" if each.step is None else f"{each.step}/{each.steps}"
        value = "-" if each.objective is None else f"{each.objective:.3f}"
        left = "-" if each.left_s is None else duration(each.left_s)
        state = Text(each.state if each.stage in ("", "training") else each.stage, STYLES.get(each.state, ""))
        why = Text(each.why if len(each.why) < 80 else each.why[:77] + "…", "dim")
        table.add_row(
            each.trial[:8], Text(each.name), state, steps, value, left, each.node, f"{each.spent_h:.2f}",
            f"{each.wasted_h:.2f}", why,
        )  # fmt: skip
    return Group(table, *(Text(line) for line in footer(sweep, facts, queue, unit)))


def is_over(sweep: Sweep, facts: Sequence[Facts]) -> bool:
    """Nothing runs or waits any more. A detached driver that still makes the sweep's cache has no trials yet."""
    return all(each.state in OVER for each in facts) if facts else read_driver(sweep.folder) is None


def footer(sweep: Sweep, facts: Sequence[Facts], queue: Queue, unit: str) -> list[str]:
    """Totals, and what a person may do next."""
    states = Counter(each.state for each in facts)
    spent, wasted = sum(each.spent_h for each in facts), sum(each.wasted_h for each in facts)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    lines = [f"{len(facts)} trials: {counts}; {spent:.2f} {unit} spent, {wasted:.2f} of them wasted"]
    if queue.silent:
        lines.append("SLURM does not answer: jobs are shown as they were last known, none is taken for dead.")
    driver = read_driver(sweep.folder)
    over = is_over(sweep, facts)
    if driver is not None and not over:
        lines.append(f"driver: job {driver.job_id}, log {driver.log}")
    if over:
        lines.append(f"Leaderboard: vprdist leaderboard {sweep.name}")
    elif not any(each.watched for each in facts):
        lines.append(
            "No driver watches this sweep: the same command again comes back to it (jobs go on by themselves)."
        )
    if states["failed"]:
        lines.append(f"Failed trials: vprdist logs TRIAL shows why, vprdist retry {sweep.name} tries them again.")
    return lines
