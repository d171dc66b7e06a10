"""A sweep's driver and the people around it: whether one lives, and whether what it makes is cancelled.

A trial is cancelled in its own folder. What a driver makes beside trials (caches, probes) has no trial: it is
cancelled in the sweep's folder. A driver that starts later, by a person's wish, makes it again, and so does the driver
of another sweep that wants the same.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from vprdist.errors import LaunchError
from vprdist.files import locked, write_text
from vprdist.spec.base import Spec
from vprdist.store.journal import Failure
from vprdist.store.trial_folder import held

Check = Callable[[], None]
"""Raises a LaunchError where the work is not wanted any more."""


def wanted_by_all() -> None:
    """The check of work that nobody can cancel."""


class DriverRecord(Spec):
    """`job.json` in the driver's folder: the job that drives the sweep."""

    job_id: str
    name: str
    log: str
    submitted_at: float


def driver_folder(sweep: Path) -> Path:
    """Where a detached driver's script, log and journal lie."""
    return sweep / "driver"


def read_driver(sweep: Path) -> DriverRecord | None:
    """The sweep's detached driver, alive or not; None when there never was one."""
    try:
        return DriverRecord.model_validate_json(_driver_file(sweep).read_bytes())
    except FileNotFoundError:
        return None


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


def cancel_rest(sweep: Path, by: str) -> None:
    """Say on the disk that caches and probes of the sweep are not wanted any more."""
    failure = Failure(reason=f"cancelled by {by}", attempts=0, kind="cancelled")
    write_text(_cancelled(sweep), failure.model_dump_json(indent=1) + "\n")


def want_again(sweep: Path, asked_at: float) -> None:
    """The same command again, or retry: what was cancelled before (`launch.driver_job.asked_at`) is wanted."""
    failure = _cancellation(sweep)
    if failure is not None and failure.at < asked_at:
        _cancelled(sweep).unlink(missing_ok=True)


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
    try:
        return Failure.model_validate_json(_cancelled(sweep).read_bytes())
    except FileNotFoundError:
        return None


def _cancelled(sweep: Path) -> Path:
    return sweep / "cancelled.json"
