"""What a person sees of a running trial: metrics as JSON lines, a line in the log, TensorBoard where asked for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from vprdist.console import duration
from vprdist.errors import LaunchError
from vprdist.files import append_json_line
from vprdist.store.trial_folder import TrialFolder

LINE_S = 10.0
"""Seconds between two progress lines in a job's log."""


class Watch:
    """Takes the rows of a trial: each has a `kind` and what it says.

    Args:
        folder: the trial's.
        tensorboard: also write numbers for TensorBoard, into `log/tensorboard`.

    Raises:
        LaunchError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, tensorboard: bool) -> None:
        place = TrialFolder(folder)
        self._file = place.metrics_file
        self._board = _board(place.log / "tensorboard") if tensorboard else None
        self._printed = 0.0

    def __call__(self, row: dict[str, Any]) -> None:
        append_json_line(self._file, {**row, "time": round(time.time(), 3)})
        if row["kind"] == "train" and (time.monotonic() - self._printed > LINE_S or row["step"] == row["steps"]):
            self._printed = time.monotonic()
            print(progress_line(row), flush=True)
        if self._board is not None and "step" in row and row["kind"] != "checkpoint":
            for name, value in row.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{row['kind']}/{name}", value, row["step"])
            self._board.flush()


def progress_line(row: dict[str, Any]) -> str:
    """A `train` row for a person."""
    null = f"{row['null_share']:.0%} null · " if "null_share" in row else ""
    return (
        f"step {row['step']}/{row['steps']} · loss {row['loss']:.5f} · {null}"
        f"{row['pairs_per_s']:g} pairs/s · {duration(row['left_s'])} left"
    )


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        remedy = "pip install 'vprdist[tensorboard]', or leave trial.run.tensorboard out."
        raise LaunchError("trial.run.tensorboard", "TensorBoard is not installed", None, remedy) from None
    return SummaryWriter(str(folder))
