"""Sends mutants to the warm worker, and watches it: for what hangs, dies, or takes all memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests import warm
from tests.fuzz.format import all_formats, counts
from tests.fuzz.worker import BAD, GOOD, MEMORY, Told, work

HANG_S = 60.0
"""Without an answer: readings take milliseconds."""


@dataclass(frozen=True)
class Case:
    """One mutant and what came of it. The same three words make it again."""

    name: str
    seed: int
    number: int
    told: Told

    def __str__(self) -> str:
        return f"{self.name} seed {self.seed} number {self.number} ({self.told.done}): {self.told.outcome}"


class Worker:
    """The process; a new one after each that had to be ended."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._start()

    def _start(self) -> None:
        self.here, there = multiprocessing.Pipe()
        with there:
            words = [sys.executable, "-m", "tests.fuzz.run", there.fileno(), self.root]
            self.process = warm.Popen(words, cwd=warm.REPO, pass_fds=[there.fileno()], start_new_session=True)
        self.here.recv()

    def ask(self, name: str, seed: int, number: int) -> Told:
        """What came of one mutant."""
        self.here.send((name, seed, number))
        asked, most = time.monotonic(), MEMORY + _resident(self.process.pid)
        done = "?"
        while True:
            try:
                if self.here.poll(0.05):
                    told = self.here.recv()
                    if isinstance(told, Told):
                        return told
                    done = told
                elif _resident(self.process.pid) > most:
                    return self._ended(Told("memory", done, "ended when it had taken 1 GB"))
                elif time.monotonic() - asked > HANG_S:
                    return self._ended(Told("hang", done, f"no answer in {HANG_S:.0f} s"))
            except (EOFError, ConnectionResetError):
                return self._ended(Told("crash", done, f"exit code {self.process.wait()}"))

    def _ended(self, told: Told) -> Told:
        self.close(kill=True)
        self._start()
        return told

    def close(self, kill: bool = False) -> None:
        """End it, and what it started."""
        if kill:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        elif self.process.poll() is None:
            self.here.send(None)
        self.process.wait()
        self.here.close()


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0


def run(
    root: Path, names: Sequence[str] | None, seed: int, count: int, keep: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Case]:  # fmt: skip
    """`count` mutants over some formats; bad ones are copied to `keep`, with their tracebacks.

    Raises:
        KeyError: no such format.
    """
    chosen = list(all_formats()) if names is None else list(names)
    cases = []
    worker = Worker(root)
    try:
        for name, number in _in_turn(counts(chosen, count)):
            case = Case(name, seed, number, worker.ask(name, seed, number))
            cases.append(case)
            if case.told.outcome in BAD:
                tell(str(case))
                if keep is not None:
                    _keep(keep, case, root)
    finally:
        worker.close()
    return cases


def _in_turn(wanted: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Format by format: their trees stay warm."""
    for name, count in wanted.items():
        yield from ((name, number) for number in range(count))


def _keep(folder: Path, case: Case, root: Path) -> None:
    """The mutant, made again where the worker is gone, and what it did."""
    folder.mkdir(parents=True, exist_ok=True)
    one = all_formats()[case.name]
    label = f"{case.name}-{case.seed}-{case.number}".replace("/", "_")
    (folder / f"{label}.txt").write_text(f"{case}\n{case.told.words}\n", errors="backslashreplace")
    for tree in root.iterdir():
        path = tree / one.target
        if tree.suffix == ".made" or not path.is_file() or path.is_symlink():
            continue
        if one.make.__qualname__ in tree.name and path.stat().st_size < 50_000_000:
            shutil.copyfile(path, folder / f"{label}{path.suffix}")


def table(cases: Sequence[Case]) -> str:
    """Outcomes by format."""
    heads = [*GOOD, *BAD]
    by_format: dict[str, Counter[str]] = {}
    for case in cases:
        by_format.setdefault(case.name, Counter())[case.told.outcome] += 1
    by_format["all"] = sum(by_format.values(), Counter())
    width = max(len(name) for name in by_format)
    lines = [f"{'format':{width}} {'mutants':>8} " + " ".join(f"{head:>12}" for head in heads)]
    for name, found in by_format.items():
        lines.append(f"{name:{width}} {found.total():8} " + " ".join(f"{found[head]:12}" for head in heads))
    return "\n".join(lines)


if __name__ == "__main__":
    work(Connection(int(sys.argv[1])), Path(sys.argv[2]))
