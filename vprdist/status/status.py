"""`vprdist status`: sweeps and their trials as a live table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live

from vprdist.console import Console, duration, fitted_table, pace_of, styled
from vprdist.errors import UserError
from vprdist.launch.driver_job import driver_queue_name, is_driver
from vprdist.launch.queue_rows import QueueRow, queue_name
from vprdist.status import first_jobs
from vprdist.status.arrays import ArrayFacts, Probing, read_array, read_probing, to_json, words
from vprdist.status.every import facts_of
from vprdist.status.facts import JOBS_AT_ONCE, Facts, Queue, dump, explain, look_at_queue
from vprdist.status.find import Sweep, find_sweep, sweeps_in_preparation
from vprdist.store import proposals
from vprdist.store.driving import had_driver, is_driven, read_driver, read_preparing
from vprdist.store.first_job import unfinished_first_jobs
from vprdist.store.manifest import sweep_names
from vprdist.store.rows import score_text

STYLES = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "cancelled": "yellow",
    "stopped": "dim",
    "ended": "red",
    "unreadable": "red",
}
MOST_NAMED = 5
"""Files that cannot be read, as the lines below the table name them."""
OVER = ("done", "failed", "cancelled", "stopped", "unreadable")
INTEREST = {"failed": 1, "cancelled": 1, "unreadable": 1, "ended": 1, "waiting": 2, "stopped": 3, "done": 3}
"""Trials with a job come first where a terminal has no room for all, then what a person may have to mend."""
LINES_OF_A_TRIAL = 4
"""That a row may take in a narrow terminal; fewer are found one by one."""


@dataclass(frozen=True)
class Seen:
    """A sweep at one moment.

    Attributes:
        probing: how far the probes of its networks are; None where there are none to be made yet, or ever.
        driven: a driver lives, here or as a job.
        problems: files that cannot be read, and what is not known for it.
        first_jobs: of the run folder, that are in the queue while trials have no job yet.
        driver_waits: why the detached driver's job has not started; empty where it has, or where there is none.
    """

    sweep: Sweep
    facts: Sequence[Facts]
    queue: Queue
    probing: Probing | None
    driven: bool
    problems: tuple[str, ...] = ()
    first_jobs: tuple[QueueRow, ...] = ()
    driver_waits: str = ""

    @property
    def arrays(self) -> list[ArrayFacts]:
        """The job arrays of its probes."""
        return [read_array(array, self.queue) for array in (self.probing.arrays if self.probing else ())]

    @property
    def is_over(self) -> bool:
        """Nothing runs, waits or will come. A detached driver that still makes the sweep's cache has no trials yet;
        one that lives when all trials are over makes probes, or proposes others."""
        over = all(each.state in OVER for each in self.facts) if self.facts else not had_driver(self.sweep.folder)
        return over and not self.driven

    @property
    def is_held_by_a_limit(self) -> bool:
        """No trial runs, and what waits does so for a limit of jobs that run at once: the driver's counts too."""
        reasons = {each.why for each in self.facts if each.state == "queued"}
        reasons |= {explain(row.reason) for row in self.first_jobs if row.state == "PENDING"}
        return bool(reasons) and reasons <= JOBS_AT_ONCE and all(each.state != "running" for each in self.facts)


def look(sweep: Sweep) -> Seen:
    """Everything about a sweep, with at most one squeue."""
    probing, problems, stopped, held_back = None, list[str](), dict[str, Mapping[str, Any]](), ""
    driven = is_driven(sweep.folder)  # before its work is looked at: what it ends with is then seen
    try:
        probing = read_probing(sweep)
    except UserError as error:  # a file of another version costs the probes, not the trials
        problems.append(f"Probes are not shown: {error}")
    try:
        stopped = proposals.stopped(sweep.folder)
    except UserError as error:  # what was stopped early is shown as unfinished
        problems.append(str(error))
    others = [] if probing is None else [array.queue_name for array in probing.arrays]
    rest = not sweep.trials or (probing is not None and not probing.is_over)
    rest = rest or any(not folder.is_over for trial, folder in sweep.trials.items() if trial not in stopped)
    may_wait = not driven and had_driver(sweep.folder) and rest
    if may_wait:  # a driver that has not started yet, or has put itself back into the queue
        others.append(driver_queue_name(sweep.folder))
    waits = not sweep.trials or not all(folder.is_over or folder.job_file.exists() for folder in sweep.trials.values())
    first = unfinished_first_jobs(sweep.folder.parents[1]) if waits else []
    others += [queue_name(record) for _, record in first]
    queue, now = look_at_queue(sweep.trials.values(), others), time.time()
    if may_wait:  # unknown is not dead
        rows = [row for some in (queue.rows or {}).values() for row in some]
        mine = [row for row in rows if is_driver(sweep.folder, row)]
        driven = queue.silent or bool(mine)
        held_back = next((explain(row.reason) for row in mine if row.state == "PENDING"), "")
    facts = facts_of(sweep, queue, stopped, now)
    rows_of_first = tuple(row for _, record in first if (row := first_jobs.row_of(record, queue)))
    return Seen(sweep, facts, queue, probing, driven, tuple(problems), rows_of_first, held_back)


def show_sweeps(runs: Path, console: Console) -> int:
    """A line for each sweep; the queue is not asked."""
    names = [*sweep_names(runs), *sweeps_in_preparation(runs)]
    if not names:
        console.print(f"No sweep was started in {runs}. Start one: vprdist sweep sweeps/table1.yaml")
        return 0
    lines, problems = [], list[str]()
    for name in names:
        try:
            lines.append(_line(runs, name))
        except UserError as error:  # it costs its line
            problems.append(str(error))
            lines.append((name, "?", "-", "-", "-", "-", "-"))
    heads = ("sweep", "trials", "done", "failed", "begun", "best", "driver")
    console.print(fitted_table(console, heads, lines, words=(0, 6), spare=(4,)))
    for problem in problems:
        console.print(problem, style="yellow")
    console.print(f"One of them: vprdist status {names[-1]}")
    return 0


def _line(runs: Path, name: str) -> tuple[str, ...]:
    sweep = find_sweep(runs, name)
    stopped, now = proposals.stopped(sweep.folder), time.time()
    facts = facts_of(sweep, Queue(None), stopped, now)
    states = Counter(each.state for each in facts)
    better = min if sweep.direction == "minimize" else max
    best = better((each.objective for each in facts if each.objective is not None), default=None)
    begun = len(facts) - sum(states[state] for state in (*OVER, "waiting"))
    watched = "watches" if is_driven(sweep.folder) or any(each.watched for each in facts) else "-"
    value = "-" if best is None else f"{sweep.objective} {score_text(sweep.objective, best)}"
    failed, cancelled = states["failed"] + states["unreadable"], states["cancelled"]
    preparing = read_preparing(sweep.folder)
    if preparing is not None:
        watched = f"makes: {preparing.what}" if is_driven(sweep.folder) else "-"
    over = f"{failed}, {cancelled} cancelled" if cancelled else str(failed)
    return name, str(len(facts)), str(states["done"]), over, str(begun), value, watched


def show_sweep(runs: Path, name: str, console: Console, watch: bool, every_s: float, as_json: bool) -> int:
    """One sweep; with `watch` again and again until every trial is over, and its driver gone."""
    seen = look(find_sweep(runs, name))
    if as_json:
        probes = to_json(seen.probing, seen.arrays) if seen.probing else None
        print(dump(seen.facts, probes, read_preparing(seen.sweep.folder)))
        return 0
    if not watch:
        console.print(render(seen, console))
        return 0
    # What is drawn anew must fit the terminal: of more, rich leaves out the end, where the totals are.
    with Live(render(seen, console, console.height), console=console, auto_refresh=False) as live:
        while not seen.is_over:
            time.sleep(every_s)
            seen = look(find_sweep(runs, name))
            live.update(render(seen, console, console.height), refresh=True)
        live.update(render(seen, console), refresh=True)
    return 0


def render(seen: Seen, console: Console, height: int | None = None) -> RenderableType:
    """The table and what is below it; a narrow terminal gets fewer columns, and a low one fewer trials.

    Args:
        height: lines that all of it may take, while trials can be left out; None: as many as it takes.
    """
    facts = seen.facts
    unit = "GPU-hours" if any(each.gpus for each in facts) else "rank-hours"
    below = footer(seen, unit)
    wanted = sorted(range(len(facts)), key=lambda place: (INTEREST.get(facts[place].state, 0), place))
    kept = len(facts) if height is None else min(len(facts), height)
    while True:
        shown = [facts[place] for place in sorted(wanted[:kept])]
        rest = [_left_out(seen, [facts[place] for place in wanted[kept:]])] if kept < len(facts) else []
        whole = Group(*([_table(shown, seen.sweep.objective, unit, console)] if shown else []), *rest, *below)
        over = 0 if height is None else len(console.render_lines(whole)) - height
        if over <= 0 or not kept:
            return whole
        kept -= max(1, over // LINES_OF_A_TRIAL)


def _left_out(seen: Seen, facts: Sequence[Facts]) -> str:
    """Which trials the table has no room for."""
    states = Counter(each.state for each in facts)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    return f"not shown: {counts}; vprdist status {seen.sweep.name} shows all"


def _table(facts: Sequence[Facts], objective: str, unit: str, console: Console) -> RenderableType:
    heads = ("trial", "name", "state", "steps", objective, "left", "node", unit, "wasted", "why")
    lines = []
    for each in facts:
        steps = "-" if each.step is None else str(each.step) if each.steps is None else f"{each.step}/{each.steps}"
        value = "-" if each.objective is None else score_text(objective, each.objective)
        left = "-" if each.left_s is None else duration(each.left_s)
        state = styled((each.state if each.stage in ("", "training") else each.stage, STYLES.get(each.state, "")))
        why = styled((each.why if len(each.why) < 80 else each.why[:77] + "…", "dim"))
        lines.append((
            each.trial[:8], each.name, state, steps, value, left, each.node, f"{each.spent_h:.2f}",
            f"{each.wasted_h:.2f}", why,
        ))  # fmt: skip
    return fitted_table(console, heads, lines, words=(1, 9), spare=(8, 6, 7, 3, 5, 9))


def preparing_words(sweep: Sweep, driven: bool) -> list[str]:
    """What is made before there are trials, how fast, and whether its driver lives."""
    found = read_preparing(sweep.folder)
    if found is None:
        return [] if sweep.trials else ["0 trials yet"]
    if not driven:
        return [f"{found.what} was not finished: its driver is gone. The same command again continues."]
    made = f": {found.done}/{found.total}" if found.total else ""
    pace = pace_of(found.done - found.first, time.time() - found.began, found.total - found.done)
    return [", ".join(filter(None, (f"{found.what}{made}", pace))) + "; trials come after it"]


def footer(seen: Seen, unit: str) -> list[str]:
    """Totals, and what a person may do next."""
    sweep, facts = seen.sweep, seen.facts
    states = Counter(each.state for each in facts)
    spent, wasted = sum(each.spent_h for each in facts), sum(each.wasted_h for each in facts)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    lines = [f"{len(facts)} trials: {counts}; {spent:.2f} {unit} spent, {wasted:.2f} of them wasted"] if facts else []
    broken = [each.why for each in facts if each.why and each.state in ("done", "unreadable")]
    lines += broken[:MOST_NAMED] + [f"{len(broken) - MOST_NAMED} more trials like these"] * (len(broken) > MOST_NAMED)
    lines += preparing_words(sweep, seen.driven)
    lines += [first_jobs.words(row) for row in seen.first_jobs]
    if seen.probing:
        lines.append(words(seen.probing, seen.arrays))
    lines += seen.problems
    if seen.queue.silent:
        lines.append("SLURM does not answer: jobs are shown as they were last known, none is taken for dead.")
    over = seen.is_over
    try:
        driver = None if over else read_driver(sweep.folder)
        if driver is not None:
            waits = f" waits ({seen.driver_waits})" if seen.driver_waits else ""
            lines.append(f"driver: job {driver.job_id}{waits}, log {driver.log}")
            if seen.driven and seen.is_held_by_a_limit:
                lines.append(
                    f"The driver's job is one of those that the limit counts. Where it leaves no room: scancel "
                    f"{driver.job_id}, and the same command without --detach."
                )
    except UserError as error:  # it costs its line
        lines.append(f"driver: {error}")
    if over:
        if states["done"] or states["stopped"]:
            lines.append(f"Leaderboard: vprdist leaderboard {sweep.name}")
        if seen.probing and not seen.probing.is_over:
            lines.append("No driver watches this sweep: the same command again makes probes and finalists.")
    elif not (seen.driven or any(each.watched for each in facts)):
        lines.append(
            "No driver watches this sweep: the same command again comes back to it (jobs go on by themselves)."
        )
    if states["failed"] or states["unreadable"]:
        lines.append(f"Failed trials: vprdist logs TRIAL shows why, vprdist retry {sweep.name} tries them again.")
    elif states["cancelled"]:
        lines.append(f"Cancelled trials: vprdist retry {sweep.name} runs them.")
    return lines
