"""The Tune side of a trial: a reader of its folder. It submits nothing, cancels nothing, and never imports torch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ray import tune

from vprdist.store.trial_folder import TrialFolder

STEP_S = 1.0
"""The longest a step lasts: Tune can stop a trial only between two of them."""
LOOK_S, RARER = 0.1, 1.5
"""Seconds between two looks after a row, and how they grow while none comes: storage is shared by a whole cluster."""


class FolderTrainable(tune.Trainable):  # type: ignore[misc]  # Ray's classes are Any to mypy
    """Reports the rows of `metrics.jsonl`, from the first one on, and ends with the result or failure.

    Config: `trial_id`, `runs`, `objective`, and `stopped` where an earlier driver's scheduler stopped the trial: then
    its rows are all that comes. Each report carries `training_step`, the step of the last evaluation (the time
    attribute of schedulers), and the newest known value of every number in the rows; the objective is NaN until it is
    known.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Read the trial's folder from its first row."""
        self.folder = TrialFolder.of(Path(config["runs"]), config["trial_id"])
        self.objective = str(config["objective"])
        self.stopped = bool(config.get("stopped"))
        self.offset, self.wait_s = 0, LOOK_S
        self.pending: list[dict[str, Any]] = []
        self.known: dict[str, float] = {"training_step": 0, self.objective: float("nan")}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Serve another trial with this actor: starting one costs seconds and 115-200 MB."""
        self.config = new_config
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """The next row, the end, or a heartbeat after a second of silence."""
        deadline = time.monotonic() + STEP_S
        while True:
            # The end is looked for before the rows are read: no row comes after it.
            over = self.folder.is_over or self.stopped
            self._read_rows()
            if self.pending:
                self.wait_s = LOOK_S
                self._learn(self.pending.pop(0))
                return {**self.known, "done": False}
            if over:
                # The rows' last value is the objective of a stopped trial; a failed one has none.
                value = self.known[self.objective] if self.stopped else self.folder.objective(self.objective)
                return {**self.known, self.objective: value, "done": True}
            if (now := time.monotonic()) >= deadline:
                return {**self.known, "done": False}
            time.sleep(min(self.wait_s, deadline - now))
            self.wait_s = min(STEP_S, self.wait_s * RARER)

    def _read_rows(self) -> None:
        """Keep evaluations, and of the training rows between two of them the last: a replay must not take long."""
        rows, self.offset = self.folder.new_rows(self.offset)
        for row in rows:
            if row.get("kind") == "train" and self.pending and self.pending[-1].get("kind") == "train":
                self.pending[-1] = row
            elif row.get("kind") in ("train", "evaluate"):
                self.pending.append(row)

    def _learn(self, row: dict[str, Any]) -> None:
        if row.get("kind") == "evaluate" and isinstance(row.get("step"), int):
            self.known["training_step"] = row["step"]
        for key, value in row.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and key != "step":
                self.known[key] = value

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the folder is the memory."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing: the folder is the memory."""
