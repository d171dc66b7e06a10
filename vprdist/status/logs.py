"""`vprdist logs`: what a trial's job printed, followed across requeues and attempts."""

from __future__ import annotations

import codecs
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from vprdist.store.trial_folder import TrialFolder

LOOK_S = 0.5


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
        return ours or [path for path in [attempt / "submission.log"] if _age_and_size(path)[1]]

    def new(self) -> str:
        """What came since the last time."""
        out = []
        for path in self.files():
            data = b""
            with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
                stream.seek(self._read.get(path, 0))
                data = stream.read()
            if data:
                if path not in self._read:
                    out.append(f"==> {path}\n")
                    self._decoders[path] = codecs.getincrementaldecoder("utf-8")("replace")
                self._read[path] = self._read.get(path, 0) + len(data)
                out.append(self._decoders[path].decode(data))
        return "".join(out)


def follow(reader: LogReader, write: Callable[[str], None]) -> None:
    """Write what comes until the trial is over, its rank 0 is gone, and its last words are said."""
    over = False
    while not over:
        over = _is_over(reader.folder)
        write(reader.new())
        time.sleep(LOOK_S)
    write(reader.new())  # submitit says how the job ended a moment after the trial itself is over


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
