"""`vprdist logs`: what a trial's job printed, followed across requeues and attempts."""

from __future__ import annotations

import codecs
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vprdist.files import open_file
from vprdist.store.trial_folder import TrialFolder

LOOK_S = 0.5
PIECE, MOST = 2**20, 64 * 2**20
"""Bytes of a log that are shown at a time, and in all: of a longer one the end."""
HOLE = re.compile(rb"\0{64,}")


class LogReader:
    """The output of one rank over all submissions of a trial, in their order, each byte once."""

    def __init__(self, folder: TrialFolder, rank: int = 0, every: bool = False) -> None:
        self.folder, self.rank, self.every = folder, rank, every
        self._read: dict[Path, int] = {}
        self._decoders: dict[Path, codecs.IncrementalDecoder] = {}  # a look may end within a letter

    def files(self) -> list[Path]:
        """Logs, oldest submission first; unless all are wanted the newest one's, and those begun before it came."""
        attempts = sorted(self.folder.log.glob("attempt-*"), key=_age_and_size)
        found = [path for attempt in attempts for path in self._logs(attempt)]
        return found if self.every else [path for path in found if path in self._read or path == found[-1]]

    def _logs(self, attempt: Path) -> list[Path]:
        ours = sorted(attempt.glob(f"*_{self.rank}_log.out"))
        found = ours or [attempt / "submission.log", *self.folder.shared_logs(attempt)]
        return ours or [path for path in found if _age_and_size(path)[1]]

    def new(self) -> str:
        """What came since the last time, or the next piece of it; empty: nothing came."""
        out = []
        for path in self.files():
            data = b""
            try:
                with open_file(path) as stream:
                    stream.seek(self._read.get(path) or max(0, os.fstat(stream.fileno()).st_size - MOST))
                    begin, data = stream.tell(), stream.read(PIECE)
            except FileNotFoundError:
                continue
            except OSError as error:
                if path not in self._read:
                    self._read[path] = 0
                    out.append(f"==> {path}\n{error.strerror}\n")
                continue
            if data:
                if path not in self._read:
                    out.append(f"==> {path}\n" + (f"… {begin:,} bytes before this are left out\n" if begin else ""))
                    self._decoders[path] = codecs.getincrementaldecoder("utf-8")("replace")
                self._read[path] = begin + len(data)
                # Where a node died, or a disk was full, there is nothing, by the page.
                out.append(self._decoders[path].decode(HOLE.sub(b"\0", data)))
        return "".join(out)

    def rest(self) -> Iterator[str]:
        """All that came, piece by piece."""
        while text := self.new():
            yield text


def follow(reader: LogReader, write: Callable[[str], None]) -> None:
    """Write what comes until the trial is over, its rank 0 is gone, and its last words are said."""
    over = False
    while not over:
        over = _is_over(reader.folder)
        for text in reader.rest():
            write(text)
        time.sleep(LOOK_S)
    for text in reader.rest():
        write(text)  # submitit says how the job ended a moment after the trial itself is over


def _age_and_size(path: Path) -> tuple[float, int]:
    """When it changed, and its size."""
    try:
        stat = path.stat()
    except FileNotFoundError:  # what a full quota refused is removed again, also while somebody looks
        return 0.0, 0
    return stat.st_mtime, stat.st_size


def _is_over(folder: TrialFolder) -> bool:
    """It ended, or its sweep's scheduler stopped it; and there is no rank 0 that may still say something."""
    if folder.is_running:
        return False
    if folder.is_over:
        return True
    record = folder.job()
    return record is not None and record.state == "cancelled"
