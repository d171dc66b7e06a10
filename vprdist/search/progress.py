"""What a person sees while a sweep runs: live bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import TaskID

from vprdist.console import Console, number_text, pace_of, progress_bars
from vprdist.search.view import Phases, Waits
from vprdist.store.rows import own_numbers, score_text
from vprdist.store.trial_folder import TrialFolder

REDRAW_S = 0.5
LINE_S = 20.0
MOST_OWN = 3
"""Numbers of a program's own beside its bar."""


class TrialReading:
    """The newest of what one trial's folder says, read bit by bit."""

    def __init__(self, name: str, folder: TrialFolder) -> None:
        self.name, self.folder = name, folder
        self.offset = 0
        self.stage, self.done, self.total = "starting", 0, 0
        self.loss: float | None = None
        self.recall: float | None = None
        self.pairs_per_s: float | None = None
        self.own: dict[str, float] = {}

    def read(self) -> None:
        """Take in the rows that came since the last time."""
        rows, self.offset = self.folder.new_rows(self.offset)
        for row in rows:
            self._take(row)

    def _take(self, row: Mapping[str, Any]) -> None:
        kind = row.get("kind")
        if kind == "train":
            self.stage, self.done, self.total = "training", int(row["step"]), int(row["steps"])
            self.loss, self.pairs_per_s = row.get("loss"), row.get("pairs_per_s")
            self.own |= own_numbers(row)
        elif kind == "stage":
            self.stage, self.done, self.total = str(row["stage"]), int(row.get("done", 0)), int(row.get("total", 0))
        elif kind == "evaluate" and row.get("recall@1") is not None:
            self.recall = float(row["recall@1"])
        elif kind == "evaluate":  # a program's, by names of its own
            self.own |= own_numbers(row)
            self.stage, self.done, self.total = "running", int(row["step"]), int(row.get("steps", self.total))

    @property
    def facts(self) -> str:
        """Loss, speed and recall, as far as they are known; the first numbers of a program's own."""
        words = [f"{name} {number_text(value)}" for name, value in list(self.own.items())[:MOST_OWN]]
        if self.loss is not None:
            words.append(f"loss {self.loss:.4f}")
        if self.pairs_per_s is not None:
            words.append(f"{self.pairs_per_s:.1f} pairs/s")
        if self.recall is not None:
            words.append(f"R@1 {self.recall:.3f}")
        return "  ".join(words)

    @property
    def line(self) -> str:
        """Everything in one line."""
        steps = f" {self.done}/{self.total}" if self.total else f" step {self.done}" if self.done else ""
        return f"{self.name}: {self.stage}{steps}" + (f", {self.facts}" if self.facts else "")

    def ending(self, objective: str) -> str:
        """How it ended: the objective, or why it was given up."""
        if self.folder.has_result:
            value = self.folder.objective(objective)
            return f"{self.name}: done" + ("" if math.isnan(value) else f", {objective} {score_text(objective, value)}")
        failure = self.folder.failure()
        if failure is None:
            return f"{self.name}: stopped early"
        ended = failure.kind if failure.kind in ("cancelled", "unreadable") else "failed"
        if failure.reason.startswith(ended):  # "cancelled by …" says it already
            return f"{self.name}: {failure.reason}"
        return f"{self.name}: {ended}, {failure.reason}"


class SweepProgress:
    """The view of `run_search` for a person.

    Args:
        names: what each trial id is called.
        objective: the metric shown when a trial ends.
        total: trials in all, where more are proposed on the way.
        console: where to; a terminal gets bars, anything else a line when a trial starts or ends and every 20 s.
    """

    def __init__(
        self, names: Mapping[str, str], objective: str, console: Console | None = None, total: int = 0
    ) -> None:
        self.names, self.objective, self.total = names, objective, total
        self.console = console or Console(stderr=True)
        self._trials: dict[str, TrialReading] = {}
        self._running: dict[str, TrialReading] = {}
        self._waiting: dict[str, str] = {}
        self._ended: set[str] = set()
        self._drawn_at = self._line_at = 0.0
        self._bars = _Bars() if self.console.is_terminal else None

    @contextlib.contextmanager
    def live(self, folders: Mapping[str, TrialFolder], phases: Phases, waits: Waits = dict) -> Iterator[None]:
        """Be visible while the block runs."""
        self._phases, self._waits, self._folders = phases, waits, folders
        self._trials = {i: TrialReading(self.names.get(i, i), folder) for i, folder in folders.items()}
        self._ended = {i for i, trial in self._trials.items() if trial.folder.has_result}
        self._already, self._began_at = len(self._ended), time.monotonic()
        if self._already:
            self.console.print(f"{self._already} of {len(self._trials)} trials already have a result.")
        shown = Live(self._bars.group, console=self.console, refresh_per_second=4) if self._bars else None
        with shown or contextlib.nullcontext():
            try:
                yield
            finally:
                self._update()

    def tick(self) -> None:
        """Redraw if it is time to."""
        if time.monotonic() - self._drawn_at >= REDRAW_S:
            self._update()

    def _update(self) -> None:
        self._drawn_at = time.monotonic()
        waits = self._waits()
        for trial_id, phase in self._phases().items():
            if trial_id not in self._trials:  # proposed since
                self._trials[trial_id] = TrialReading(self.names.get(trial_id, trial_id), self._folders[trial_id])
            trial = self._trials[trial_id]
            if trial_id in self._ended:
                continue
            self._place(trial_id, trial, waits.get(trial_id, "") if phase == "running" else None)
            over = trial.folder.has_result or trial.folder.failure_file.exists()
            if trial_id in self._running:
                trial.read()
            if over or phase == "done":
                self._running.pop(trial_id, None)
                self._waiting.pop(trial_id, None)
                self._ended.add(trial_id)
                self.console.print(trial.ending(self.objective))
        self._show()

    def _place(self, trial_id: str, trial: TrialReading, waits: str | None) -> None:
        """Whether its job runs, waits, or neither is known of it yet.

        Args:
            waits: why its job waits; empty: the cluster does not say that it does; None: it has no job.
        """
        if waits and trial_id not in self._waiting:
            self._line(f"{trial.name}: waiting ({waits})")
        if waits:
            self._waiting[trial_id] = waits
        else:
            self._waiting.pop(trial_id, None)
        if waits or waits is None:
            self._running.pop(trial_id, None)  # also a job that was lost, or is in the queue again
        elif trial_id not in self._running and trial.folder.is_running:
            self._running[trial_id] = trial
            self._line(f"{trial.name}: started")

    def say(self, text: str) -> None:
        """One line of news, on a terminal too."""
        self.console.print(text, style="yellow")

    @property
    def _count(self) -> int:
        return max(self.total, len(self._trials))

    def _line(self, line: str) -> None:
        if self._bars is None:
            self.console.print(line)

    def _show(self) -> None:
        if self._bars is not None:
            words = "; ".join(filter(None, (self._pace(), *self._waiting_words())))
            self._bars.show(len(self._ended), self._count, words, self._running)
        elif time.monotonic() - self._line_at >= LINE_S and (self._running or self._waiting):
            self._line_at = time.monotonic()
            parts = [*(trial.line for trial in self._running.values()), *self._waiting_words(), self._pace()]
            self._line(f"[{len(self._ended)}/{self._count}] {'; '.join(filter(None, parts))}")

    def _waiting_words(self) -> list[str]:
        """How many jobs wait, by the cluster's reason, the commonest first."""
        return [f"{count} waiting ({why})" for why, count in Counter(self._waiting.values()).most_common()]

    def _pace(self) -> str:
        """Trials an hour or so, and the time that those still to do take, counting the running ones' parts."""
        parts = sum(t.done / t.total for t in self._running.values() if t.total and t.stage == "training")
        finished = len(self._ended) - self._already + parts
        if finished < 0.05:
            return ""
        left = self._count - len(self._ended) - parts
        return pace_of(finished, time.monotonic() - self._began_at, left, " trials")


class _Bars:
    """One bar for the sweep, and one for each trial that runs."""

    def __init__(self) -> None:
        self.whole = progress_bars(fields="{task.fields[words]}", paced=False)
        self.parts = progress_bars("  ", 20, "{task.fields[stage]}  {task.fields[facts]}")
        self.group = Group(self.whole, self.parts)
        self._whole = self.whole.add_task("trials", total=None, words="")
        self._parts: dict[str, TaskID] = {}
        self._stages: dict[str, str] = {}

    def show(self, done: int, total: int, words: str, running: Mapping[str, TrialReading]) -> None:
        """Set every bar; a trial that ended loses its own."""
        self.whole.update(self._whole, completed=done, total=total, words=words)
        for trial_id in set(self._parts) - set(running):
            self.parts.remove_task(self._parts.pop(trial_id))
        for trial_id, trial in running.items():
            if trial_id not in self._parts:
                self._parts[trial_id] = self.parts.add_task(trial.name, total=None, stage="", facts="")
            task = self._parts[trial_id]
            if self._stages.get(trial_id) != trial.stage:
                self._stages[trial_id] = trial.stage
                self.parts.reset(task)  # another stage, another pace
            self.parts.update(
                task, completed=trial.done, total=trial.total or None, stage=trial.stage, facts=trial.facts
            )
