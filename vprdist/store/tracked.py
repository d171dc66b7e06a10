"""What lies below `runs/sweeps/<name>/track/<tracker>/`: what a tracker was sent, and its own files."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pydantic import Field

from vprdist.errors import UserError
from vprdist.files import locked, write_text
from vprdist.spec.base import Spec
from vprdist.store.reading import read_spec
from vprdist.store.trial_folder import held


class Mark(Spec):
    """What a tracker has of one run for certain.

    Attributes:
        points: so many of the run's first points.
        said: digest of the state and results that it was told last; empty: none.
        own: what the tracker itself must know to go on.
    """

    points: int = Field(ge=0)
    said: str = ""
    own: dict[str, Any] = Field(default_factory=dict)


class Account(Spec):
    """How far the process of one tracker has come; `fault` is why it does not get on, without secrets."""

    pid: int
    runs: int = 0
    left: int = Field(default=0, description="runs of which something is not sent")
    points: int = Field(default=0, description="points that this process has sent")
    fault: str = ""
    where: str = ""
    look: str = ""


class TrackFolder:
    """The folder of one tracker of one sweep."""

    def __init__(self, sweep: Path, word: str) -> None:
        self.path = sweep / "track" / word
        self.store = self.path / "store"
        """The tracker's own files, where it has no server."""
        self.account_file = self.path / "account.json"
        self._marks = self.path / "sent"
        self._lock = self.path / "lock"

    def mark(self, run_id: str) -> Mark:
        """What was sent of a run; nothing, where nothing can be read: it is sent again."""
        with contextlib.suppress(OSError, UserError):
            return read_spec(self._marks / f"{run_id}.json", Mark, "what was sent", "")
        return Mark(points=0)

    def write_mark(self, run_id: str, mark: Mark) -> None:
        """Note what the tracker has now."""
        write_text(self._marks / f"{run_id}.json", mark.model_dump_json() + "\n")

    def account(self) -> Account | None:
        """What the tracker's process said last; None: it said nothing yet."""
        with contextlib.suppress(OSError, UserError):
            return read_spec(self.account_file, Account, "an account", "")
        return None

    def write_account(self, account: Account) -> None:
        """Say how far it is."""
        write_text(self.account_file, account.model_dump_json() + "\n")

    def sending(self) -> AbstractContextManager[bool]:
        """The lock of the one process that sends; yields False when another has it."""
        return locked(self._lock, blocking=False)

    @property
    def is_sending(self) -> bool:
        """Whether some process sends now."""
        return held(self._lock)
