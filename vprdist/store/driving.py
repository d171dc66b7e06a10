"""A sweep's driver and the people around it: whether one lives, and whether what it makes is cancelled.

A trial is cancelled in its own folder. What a driver makes beside trials (caches, probes) has no trial: it is
cancelled in the sweep's folder. A driver that starts later, by a person's wish, makes it again, and so does the driver
of another sweep that wants the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import Field

from vprdist.errors import LaunchError, UserError
from vprdist.files import locked, write_text
from vprdist.spec.base import Spec
from vprdist.store.journal import Failure, UnixTime
from vprdist.store.reading import read_spec
from vprdist.store.trial_folder import held, read_failure

NOTE_S = 1.0
"""Seconds between two notes of what is made."""
Check = Callable[[], None]
"""Raises a LaunchError where the work is not wanted any more."""


def wanted_by_all() -> None:
    """The check of work that nobody can cancel."""


class DriverRecord(Spec):
    """`job.json` in the driver's folder: the job that drives the sweep.

    `without_ray`: of an earlier version, whose files have it.
    """

    job_id: str
    name: str
    log: str
    submitted_at: UnixTime
    without_ray: int = 0
    clusters: str | None = Field(default=None, description="the cluster that it is on, where not the one at hand")


class Preparing(Spec):
    """`preparing.json` in the sweep's folder: what its driver makes before there are trials, a city or a cache.

    `first` of `total` were done when it began, at Unix time `began`.
    """

    what: str
    done: int
    total: int
    first: int
    began: UnixTime
    objective: str


@contextlib.contextmanager
def preparing(sweep: Path, objective: str) -> Iterator[Callable[[str, int, int], None]]:
    """Let others see what is made while the block runs; it is told (what, done, total).

    Nothing is written before it is told something, and nothing of it is left afterwards: not even the folder where a
    sweep never came to its trials.
    """
    last: Preparing | None = None
    written_at = 0.0
    with contextlib.ExitStack() as stack:

        def tell(what: str, done: int, total: int) -> None:
            nonlocal last, written_at
            now = time.time()
            goes_on = last is not None and last.what == what
            if goes_on and now - written_at < NOTE_S and done < total:
                return
            if last is None:
                stack.callback(_forget_empty, sweep)
                stack.enter_context(driving(sweep))
                stack.callback(lambda: _preparing_file(sweep).unlink(missing_ok=True))
            first, began = (last.first, last.began) if last is not None and goes_on and last.total else (done, now)
            last = Preparing(what=what, done=done, total=total, first=first, began=began, objective=objective)
            write_text(_preparing_file(sweep), last.model_dump_json(indent=1) + "\n")
            written_at = now

        yield tell


def read_preparing(sweep: Path) -> Preparing | None:
    """What a driver makes there, or made when it was killed; None: nothing, or nothing that can be read."""
    try:
        return read_spec(_preparing_file(sweep), Preparing, "what is prepared", "")
    except (OSError, UserError):
        return None


def _preparing_file(sweep: Path) -> Path:
    return sweep / "preparing.json"


def _forget_empty(sweep: Path) -> None:
    """Remove a folder that holds the lock alone, which nobody else has."""
    with locked(_lock(sweep), blocking=False) as alone:
        if alone and [path.name for path in sweep.iterdir()] == [_lock(sweep).name]:
            _lock(sweep).unlink()
            sweep.rmdir()


def driver_folder(sweep: Path) -> Path:
    """Where a detached driver's script, log and journal lie."""
    return sweep / "driver"


def read_driver(sweep: Path) -> DriverRecord | None:
    """The sweep's detached driver, alive or not; None when there never was one.

    Raises:
        LaunchError: the file cannot be read: nobody knows which job it was.
    """
    try:
        return read_spec(_driver_file(sweep), DriverRecord, "the record of a driver", "")
    except FileNotFoundError:
        return None
    except UserError as error:
        remedy = "The same command with --detach finds a driver that is there, and writes the file anew."
        raise LaunchError(error.where, error.fault, error.value, remedy) from None


def had_driver(sweep: Path) -> bool:
    """Whether there ever was a detached driver, whatever its record says."""
    return _driver_file(sweep).exists()


def write_driver(sweep: Path, record: DriverRecord) -> None:
    """Publish the sweep's detached driver."""
    write_text(_driver_file(sweep), record.model_dump_json(indent=1) + "\n")


def driving(sweep: Path) -> AbstractContextManager[bool]:
    """Drive the sweep of that folder while the block runs; others may do so too."""
    return locked(_lock(sweep), shared=True)


def is_driven(sweep: Path) -> bool:
    """Whether some process drives the sweep now: more trials may come, though all that it lists are over."""
    try:
        return held(_lock(sweep))
    except PermissionError:  # somebody else's sweep may be looked at all the same
        return False
    except LaunchError:  # no driver could lock what is no file
        return False


def cancel_rest(sweep: Path, by: str) -> None:
    """Say on the disk that caches and probes of the sweep are not wanted any more."""
    failure = Failure(reason=f"cancelled by {by}", attempts=0, kind="cancelled")
    write_text(_cancelled(sweep), failure.model_dump_json(indent=1) + "\n")


def want_again(sweep: Path, asked_at: float) -> None:
    """The same command again, or retry: what was cancelled before (`launch.driver_job.asked_at`) is wanted.

    Raises:
        LaunchError: what says that it was cancelled cannot be removed.
    """
    failure, place = _cancellation(sweep), _cancelled(sweep)
    if failure is not None and failure.at < asked_at:
        try:
            place.unlink(missing_ok=True)
        except OSError as error:
            raise LaunchError(place, "it cannot be removed", error.strerror, "Remove it by hand.") from None


def check_wanted(sweep: Path) -> None:
    """Asked again and again while caches or probes are made.

    Raises:
        LaunchError: a person cancelled them.
    """
    failure = _cancellation(sweep)
    if failure is None:
        return
    fault, remedy = "its caches and probes were cancelled", "The same command again makes what is missing."
    raise LaunchError(f"sweep {sweep.name}", fault, failure.reason, remedy)


def _driver_file(sweep: Path) -> Path:
    return driver_folder(sweep) / "job.json"


def _lock(sweep: Path) -> Path:
    return sweep / "lock"


def _cancellation(sweep: Path) -> Failure | None:
    return read_failure(_cancelled(sweep), "Delete it.")


def _cancelled(sweep: Path) -> Path:
    return sweep / "cancelled.json"
