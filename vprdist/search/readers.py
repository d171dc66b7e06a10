"""Readers of trials' folders for Tune, all in one thread. They submit nothing, cancel nothing, and know no Ray."""

from __future__ import annotations

import contextlib
import heapq
import math
import queue
import threading
import time
from collections.abc import Hashable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vprdist.store.trial_folder import TrialFolder

LOOK_S, RARER, SELDOM_S = 0.1, 1.5, 1.0
"""Seconds between two looks after news, how they grow while none comes, and the most that they grow to: storage is
shared by a whole cluster."""

News = dict[str, Any]


class FolderReader:
    """What a trial's folder says, bit by bit: each evaluation, and the end.

    Args:
        config: of Tune's trial: `trial_id`, `runs`, `objective`, and `stopped` where an earlier driver's scheduler
            stopped the trial: then what is there already is all that comes.

    Attributes:
        pause_s: so long nobody need look again.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.folder = TrialFolder.of(Path(config["runs"]), config["trial_id"])
        self.objective = str(config["objective"])
        self.stopped = bool(config.get("stopped"))
        self.offset, self.pause_s = 0, LOOK_S
        self._rows: list[dict[str, Any]] = []
        self._known: News = {"training_step": 0, "training_iteration": 0, self.objective: math.nan}

    def look(self) -> News | None:
        """The next evaluation, or the end; None where nothing is new, or the storage gives no answer now.

        Returns:
            `training_step`, the step of the last evaluation (schedulers go by it), `training_iteration`, how much news
            there was, the newest known value of every number in the rows, and whether the trial is `done`. The
            objective is NaN until it is known, and that of the result in the end.
        """
        try:
            # The end is looked for before the rows are read: no row comes after it.
            over = self.folder.is_over or self.stopped
            rows, self.offset = self.folder.new_rows(self.offset)
            self._rows += rows
            if self._learn_next():
                return self._news(done=False)
            if over:
                if not self.stopped:  # the rows' last value is the objective of a stopped trial
                    self._known[self.objective] = self.folder.objective(self.objective)
                return self._news(done=True)
        except OSError:  # whoever watches the trial's job says what is wrong with the disk
            pass
        self.pause_s = min(SELDOM_S, self.pause_s * RARER)
        return None

    def _learn_next(self) -> bool:
        """Take rows in, to the next evaluation; False where there is none."""
        while self._rows:
            row = self._rows.pop(0)
            if row.get("kind") not in ("train", "evaluate"):
                continue
            numbers = {k: v for k, v in row.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
            numbers.pop("step", None)
            self._known |= numbers
            if row["kind"] == "evaluate":
                if isinstance(row.get("step"), int):
                    self._known["training_step"] = row["step"]
                return True
        return False

    def _news(self, done: bool) -> News:
        self.pause_s = LOOK_S
        self._known["training_iteration"] += 1
        return {**self._known, "done": done}


class Readers:
    """One thread that looks into the folders of all trials in flight.

    A process or a thread a trial would do the same: 64 processes took 7 GB. Storage that hangs holds up this thread,
    and nobody else. Use it as a context; leaving it waits for no look.
    """

    def __init__(self) -> None:
        self._readers: dict[Hashable, FolderReader] = {}
        self._due: list[tuple[float, int, Hashable]] = []
        self._count = 0
        self._is_closed = False
        self._changed = threading.Condition()
        # No SimpleQueue: its `get(timeout)` waits for ever where a signal's handler ends after the time is over.
        self._found: queue.Queue[tuple[Hashable, News | BaseException]] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="vprdist-readers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def add(self, key: Hashable, reader: FolderReader) -> None:
        """Know a reader; nobody looks before `want`."""
        self._readers[key] = reader

    def drop(self, key: Hashable) -> None:
        """Forget a reader, and what it may find still."""
        self._readers.pop(key, None)

    def want(self, key: Hashable) -> None:
        """Look until there is one piece of news."""
        with self._changed:
            self._push(key, 0.0)
            self._changed.notify()

    def next(self, timeout: float | None = None) -> tuple[Hashable, News] | None:
        """One piece of news with its key; None where none came in so many seconds.

        Raises:
            Exception: what a reader raised.
        """
        with contextlib.suppress(queue.Empty):
            key, news = self._found.get(timeout=timeout)
            if key in self._readers:
                if isinstance(news, BaseException):
                    raise news
                return key, news
        return None

    def _push(self, key: Hashable, pause_s: float) -> None:
        # Whole tenths of a second: looks of many readers come together, and the thread wakes seldom.
        at = math.ceil((time.monotonic() + pause_s) / LOOK_S) * LOOK_S if pause_s else 0.0
        self._count += 1
        heapq.heappush(self._due, (at, self._count, key))

    def _run(self) -> None:
        while (key := self._wait()) is not None:
            if (reader := self._readers.get(key)) is None:
                continue
            try:
                news: News | BaseException | None = reader.look()
            except BaseException as error:  # raised where `next` is called, never swallowed
                news = error
            if news is not None:
                self._found.put((key, news))
                continue
            with self._changed:
                self._push(key, reader.pause_s)

    def _wait(self) -> Hashable | None:
        """The next reader that is due; None when all is over."""
        with self._changed:
            while not self._is_closed:
                pause_s = self._due[0][0] - time.monotonic() if self._due else None
                if pause_s is not None and pause_s <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(pause_s)
        return None
