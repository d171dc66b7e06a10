"""What a search needs of whatever shows it to a person."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from vprdist.launch.trial_watch import Phase
from vprdist.store.trial_folder import TrialFolder

Phases = Callable[[], Mapping[str, Phase]]
Waits = Callable[[], Mapping[str, str]]


class View(Protocol):
    """Shows trials while they run; it only reads their folders."""

    def live(
        self, folders: Mapping[str, TrialFolder], phases: Phases, waits: Waits = dict
    ) -> AbstractContextManager[object]:
        """Be visible while the block runs.

        Args:
            folders: every trial of the sweep, finished ones too.
            phases: what the dispatcher says about the wanted ones.
            waits: why jobs have not started, in the cluster's words, by trial id.
        """

    def say(self, text: str) -> None:
        """Show one line of news."""

    def tick(self) -> None:
        """Show what is new; called many times a second, and cheap when there is nothing to do."""


class NoView:
    """Shows nothing."""

    def live(
        self, folders: Mapping[str, TrialFolder], phases: Phases, waits: Waits = dict
    ) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    def say(self, text: str) -> None:
        """Nothing."""

    def tick(self) -> None:
        """Nothing."""
