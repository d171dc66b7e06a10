"""Files of a run folder, as a driver and its jobs leave them, and the commands that look at them."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.format import Format
from tests.report.making import leave, records_of, result
from vprdist.store.trial_folder import TrialFolder


def make(folder: Path) -> None:
    rows = [(result(0.5, wall_s=100.0), records_of(0.5, 0)), (result(0.72, unfreeze="all"), records_of(0.7, 1))]
    leave(folder, rows)


def read_metrics(folder: Path) -> object:
    return TrialFolder(folder / TRIAL).rows()


TRIAL = f"trials/{result(0.5).trial_id}"
FORMATS = [Format("run/metrics.jsonl", make, f"{TRIAL}/metrics.jsonl", read_metrics, places=False)]
