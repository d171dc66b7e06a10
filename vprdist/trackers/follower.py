"""Follows a sweep for one tracker: whatever its folders have and the tracker has not is sent, once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vprdist.errors import UserError, first_line
from vprdist.files import digest_json
from vprdist.spec.secret import hidden
from vprdist.store.driving import is_driven
from vprdist.store.manifest import read_manifest, sweep_folder
from vprdist.store.proposals import stopped
from vprdist.store.tracked import Account, Mark, TrackFolder
from vprdist.store.trial_folder import TrialFolder
from vprdist.trackers.base import Point, Run, RunFacts, Standing, State, Tracker
from vprdist.trackers.telling import (
    facts_of_sweep,
    facts_of_trial,
    points_of,
    run_id_of,
    standing_of,
    standing_of_sweep,
    state_of,
)

MOST_FAULTS = 2
"""Runs in a row that a tracker does not take before it is left alone for a while: its server is down."""
MOST_POINTS = 500
"""Points that are sent at once, so that what was sent is noted on the way."""


@dataclass
class Followed:
    """One run: how far its rows were read, and what was sent of it.

    Attributes:
        end: bytes of the rows that were read, and `points` the points in them.
        waiting: points that are not sent.
        run: the tracker's, while it is open.
    """

    run_id: str
    facts: Callable[[], RunFacts]
    folder: TrialFolder | None
    mark: Mark
    end: int = 0
    points: int = 0
    waiting: list[Point] = field(default_factory=list)
    run: Run | None = None


class Follower:
    """One tracker of one sweep.

    Args:
        tracker: made when something is to be sent: its package takes seconds to load, and its server may be away.
    """

    def __init__(self, runs: Path, sweep: str, place: TrackFolder, tracker: Callable[[], Tracker]) -> None:
        self.runs, self.sweep, self.place, self._make = runs, sweep, place, tracker
        self.folder = sweep_folder(runs, sweep)
        before = place.account()
        where, look = ("", "") if before is None else (before.where, before.look)
        self.account = Account(pid=os.getpid(), where=where, look=look)
        place.write_account(self.account)
        self._tracker: Tracker | None = None
        self._runs: dict[str, Followed] = {}
        self._known: dict[str, tuple[object, Standing]] = {}

    @property
    def tracker(self) -> Tracker:
        """The tracker, made once."""
        if self._tracker is None:
            self._tracker = self._make()
            self._tell(where=self._tracker.where, look=self._tracker.look)
        return self._tracker

    def make(self) -> None:
        """Make the tracker before there is something to send."""
        try:
            assert self.tracker is not None
        except Exception as error:  # a tracker's, of any kind
            self._tell(fault=_said(error))

    def look(self, leaving: bool = False) -> bool:
        """Send what is new.

        Args:
            leaving: nobody will look again: runs that are not over are told how they stand now, and are closed.

        Returns:
            Whether the tracker has everything.
        """
        every = list(self._every(leaving))
        needed = [(followed, standing) for followed, standing in every if self._needs(followed, standing, leaving)]
        left, faults, fault = {followed.run_id for followed, _ in needed}, 0, ""
        self._tell(runs=len(every), left=len(left))
        for followed, standing in needed:
            if faults >= MOST_FAULTS:
                break
            try:
                self._send(followed, standing, leaving)
            except Exception as error:  # a tracker's, of any kind: its server, its package, a user's class
                faults, fault = faults + 1, _said(error)
                self._forget(followed)
            else:
                faults = 0
                left.discard(followed.run_id)
            self._tell(left=len(left), fault=fault)
        self._tell(left=len(left), fault=fault)
        return not left

    def _tell(self, **changes: object) -> None:
        account = self.account.model_copy(update=changes)
        if account != self.account:
            self.account = account
            self.place.write_account(account)

    def _every(self, leaving: bool) -> Iterator[tuple[Followed, Standing]]:
        """The runs of the sweep that have begun, and how they stand; the sweep's own comes last."""
        try:
            manifest = read_manifest(self.folder)
            early = stopped(self.folder)
        except UserError:  # not written yet, or being mended: there is a next time
            return
        several = len({entry["seed"] for entry in manifest["trials"]}) > 1
        states: list[State | None] = []
        for entry in manifest["trials"]:
            folder = TrialFolder.of(self.runs, entry["trial"])
            state = state_of(folder, entry["trial"] in early)  # before its rows: if it is over, they are all there
            states.append(state)
            if state is not None:
                followed = self._followed(
                    run_id_of(self.sweep, folder.trial_id), folder,
                    lambda e=entry, f=folder: facts_of_trial(self.sweep, e, f, several),  # type: ignore[misc]
                )  # fmt: skip
                yield followed, self._standing(folder, state)
        driven = not leaving and is_driven(self.folder)
        facts = facts_of_sweep(self.sweep, self.folder)
        yield self._followed(facts.run_id, None, lambda: facts), standing_of_sweep(self.folder, states, driven)

    def _standing(self, folder: TrialFolder, state: State) -> Standing:
        """How a trial stands; its files are read again only when they have changed."""
        files = (folder.result_file, folder.failure_file, folder.starts_file)
        stamp = (state, *(path.stat().st_mtime_ns if path.exists() else 0 for path in files))
        known = self._known.get(folder.trial_id)
        if known is None or known[0] != stamp:
            known = self._known[folder.trial_id] = (stamp, standing_of(folder, state))
        return known[1]

    def _followed(self, run_id: str, folder: TrialFolder | None, facts: Callable[[], RunFacts]) -> Followed:
        if run_id not in self._runs:
            mark = self.place.mark(run_id)
            self._runs[run_id] = Followed(run_id, facts, folder, mark)
        return self._runs[run_id]

    def _needs(self, followed: Followed, standing: Standing, leaving: bool) -> bool:
        """Whether something of a run is not sent."""
        self._read(followed)
        if followed.run is not None:
            return bool(followed.waiting) or standing.is_over or leaving
        followed.waiting = []  # they are read again when the run is opened, which may want all of them
        news = (standing.is_over or leaving) and followed.mark.said != _digest(standing)
        return news or followed.points > followed.mark.points

    def _read(self, followed: Followed) -> None:
        if followed.folder is not None:
            rows, followed.end = followed.folder.new_rows(followed.end)
            new = points_of(rows, followed.points)
            followed.points += len(new)
            followed.waiting += new

    def _forget(self, followed: Followed) -> None:
        """Begin anew with a run that its tracker did not take."""
        followed.run, followed.waiting, followed.end, followed.points = None, [], 0, 0
        followed.mark = self.place.mark(followed.run_id)

    def _send(self, followed: Followed, standing: Standing, leaving: bool) -> None:
        """What one run has that is new."""
        mark = followed.mark
        if followed.run is None:
            followed.run = self.tracker.open(followed.facts(), mark.points, mark.own)
            followed.end = followed.points = 0
            self._read(followed)
        while followed.waiting:
            some = [point for point in followed.waiting[:MOST_POINTS] if point.number >= followed.run.sent]
            if some:
                followed.run.log(some)
            followed.waiting = followed.waiting[MOST_POINTS:]
            if some and (kept := followed.run.kept()) is not None:
                self._note(followed, Mark(points=some[-1].number + 1, own=dict(kept)))
            self._tell(points=self.account.points + len(some))
        if standing.is_over or leaving:
            kept = followed.run.finish(standing)
            self._note(followed, Mark(points=followed.points, said=_digest(standing), own=dict(kept)))
            followed.run = None

    def _note(self, followed: Followed, mark: Mark) -> None:
        if mark != followed.mark:
            self.place.write_mark(followed.run_id, mark)
            followed.mark = mark


def _digest(standing: Standing) -> str:
    """What a tracker is told, in short; of files their content, by size and time."""
    stamps = [(path.name, found.st_size, found.st_mtime_ns) for path in standing.files for found in [path.stat()]]
    told = {**asdict(standing), "files": stamps, "results": {k: str(v) for k, v in standing.results.items()}}
    return digest_json(told)


def _said(error: Exception) -> str:
    """One line, without secrets."""
    return hidden(f"{type(error).__name__}: {first_line(error)}", os.environ)
