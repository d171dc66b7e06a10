"""`vprdist.run`: a sweep from a file, a text or a dictionary, driven as the command does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vprdist.api.load import load
from vprdist.api.sweep import Sweep
from vprdist.console import Console
from vprdist.disk import full_disk
from vprdist.errors import SweepFileError, UserError
from vprdist.machine import settle_home
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.sweep_file import read_sweep, read_sweep_text

INTERRUPTED, WIDTH = 130, 120
TEXT = "sweep"
"""What messages call a sweep that has no file."""
Given = str | os.PathLike[str] | Mapping[str, Any]


def run(
    sweep: Given, runs: str | os.PathLike[str] = "runs", *, overrides: Mapping[str, Any] | None = None,
    detach: bool = False,
) -> Sweep:  # fmt: skip
    """Run a sweep to its leaderboard, as `vprdist sweep` does; what has a result is not run again.

    An interrupted cell leaves its jobs running: the same call again comes back to them. Progress comes as lines.

    Args:
        sweep: the path of a sweep file; its YAML as a text of several lines; or a dictionary with the same keys. A
            text or a dictionary must have a `name`, and its paths count from the working folder.
        runs: where results are kept.
        overrides: dotted keys and values, which win over the sweep's own: `{"trial.train.steps": 10}`.
        detach: submit the driver as a job, and return at once.

    Returns:
        The sweep as `vprdist.load` gives it. Trials that failed are in its `failures`.

    Raises:
        UserError: bad input, or a cluster that refuses; nothing was started then.
        KeyboardInterrupt: somebody interrupted; jobs go on.

    Example:
        >>> sweep = vprdist.run("sweeps/table1.yaml", overrides={"name": "mine", "trial.train.steps": 10})
        >>> sweep.failures
    """
    from vprdist.driver.start import run as drive

    where = Path(runs).resolve()
    console = Console(file=sys.stdout, force_terminal=False, force_jupyter=False, width=WIDTH, soft_wrap=True)
    with _as_messages(console), _own_umask():
        settle_home()
        read = _read(sweep, overrides or {})
        code = drive(read, where, console, detach=detach)
    if code == INTERRUPTED:  # the words are said
        raise KeyboardInterrupt
    return load(read.name, where)


def _read(sweep: Given, overrides: Mapping[str, Any]) -> SweepSpec:
    words = [f"{key}={_yaml(value, f'overrides[{key!r}]')}" for key, value in overrides.items()]
    if isinstance(sweep, Mapping):
        return read_sweep_text(_yaml(dict(sweep), TEXT), TEXT, words, lines=False)
    if isinstance(sweep, str) and "\n" in sweep:
        return read_sweep_text(sweep, TEXT, words)
    if not isinstance(sweep, (str, os.PathLike)):
        fault = "a sweep must be a path, a text of YAML, or a dictionary"
        raise SweepFileError("run", fault, type(sweep).__name__, 'As in run("sweeps/table1.yaml").')
    return read_sweep(Path(sweep), words)


def _yaml(value: Any, where: str) -> str:
    """A value as a file would write it, in YAML's JSON.

    Raises:
        SweepFileError: a value that no file can hold.
    """

    def plain(each: Any) -> Any:
        if isinstance(each, os.PathLike):
            return os.fspath(each)
        if hasattr(each, "tolist"):  # numpy's numbers and arrays
            return each.tolist()
        if isinstance(each, (set, frozenset, range)):
            return sorted(each)
        raise TypeError(f"{type(each).__name__}: {each!r}")

    try:
        return json.dumps(value, default=plain, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        remedy = "Give texts, numbers, lists and dictionaries, as a file would."
        raise SweepFileError(where, "a sweep file cannot hold this value", str(error), remedy) from None


@contextmanager
def _as_messages(console: Console) -> Iterator[None]:
    """What a command says before it leaves, as an error with the same words."""
    try:
        yield
    except OSError as error:
        full = full_disk(error, "What was made is kept, and jobs go on; then call run again.")
        where, fault = error.filename or "system", (error.strerror or "an error without words").lower()
        raise full or UserError(where, f"this cannot be done: {fault}", None, "See the path.") from error
    except KeyboardInterrupt:
        console.print("Interrupted. What was made is kept; the same call again continues.")
        raise


@contextmanager
def _own_umask() -> Iterator[None]:
    """What a driver narrows for its jobs is as before afterwards: the process is somebody's notebook."""
    before = os.umask(0o077)
    os.umask(before)
    try:
        yield
    finally:
        os.umask(before)
