"""Checkpoints: everything a resumed run needs to go on as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vprdist.errors import WeightsError
from vprdist.tensors import load_tensors, save_tensors

FILE = "last.pt"
VERSION = 1


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Publish `state` (tensors and plain values only) as the folder's last checkpoint; one process writes there.

    Raises:
        OSError: the disk does not take it; the last checkpoint stays.
    """
    for torn in folder.glob(f".{FILE}.*.tmp"):  # a kill left it, and it is as large as a checkpoint
        torn.unlink(missing_ok=True)
    save_tensors(folder / FILE, {"version": VERSION, **state})


def load_checkpoint(folder: Path, trial_id: str) -> dict[str, Any] | None:
    """The folder's last checkpoint, on the CPU; None when there is none.

    Raises:
        WeightsError: unreadable, or of another trial.
    """
    path = folder / FILE
    if not path.exists():
        return None
    remedy = f"Delete {path} to start this trial anew."
    state: dict[str, Any] = load_tensors(path, "a checkpoint must be readable", remedy)
    if state.get("version") != VERSION or state.get("trial_id") != trial_id:
        raise WeightsError(
            path, "the checkpoint must be of this trial and version", state.get("trial_id"), f"Delete {path}."
        )
    return state
