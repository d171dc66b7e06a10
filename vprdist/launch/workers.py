"""Processes on this machine that share one piece of work: each is told the whole order, and makes what no other makes.

The driver never loads torch; they do. An order goes in as text on standard input, what they have to say comes out as
JSON, one value a line: `made` (how much, by this process), `error` (a user's mistake), and whatever else they tell.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vprdist.errors import UserError
from vprdist.launch.warm import start_module

LOOK_S = 0.2


class Worker:
    """A process that is told an order and a few words.

    Args:
        module: what `python -m` runs.
        gpu: the only one that it sees; None: as this process.
        error: the kind of a user's mistake.
    """

    def __init__(
        self, module: str, order: str, words: Sequence[str], gpu: int | None = None, error: type[UserError] = UserError
    ) -> None:
        self.module, self.error = module, error
        environment = os.environ | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)})
        hears, says = os.pipe()
        self._said = os.fdopen(hears)
        with tempfile.TemporaryFile() as told, os.fdopen(says, "wb") as heard:
            told.write(order.encode())
            told.seek(0)
            files = (told.fileno(), heard.fileno(), 2)
            self._process = start_module(module, words, files, environment, loaded=(module,))

    def says(self) -> Iterator[dict[str, Any]]:
        """What it says, while it works.

        Raises:
            UserError: of the kind `error`: what it found wrong, or that it died.
        """
        for line in self._said:
            said: dict[str, Any] = json.loads(line)
            if "error" in said:
                raise self.error.from_json(said["error"])
            yield said
        if code := self._process.wait():
            fault, remedy = f"a process on this machine died with exit code {code}", "Start the same command again."
            raise self.error(self.module, fault, None, remedy)

    def end(self) -> None:
        """Returns when it is gone."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()


def work_together(
    module: str, order: str, words: Sequence[str], count: int, made: Callable[[int], None], *,
    gpus: Sequence[int] = (), error: type[UserError] = UserError,
) -> None:  # fmt: skip
    """Have `count` processes work until each finds nothing left to do; with an error of one all are ended.

    Args:
        words: what each is told, before its index and their number.
        made: told about every fifth of a second how much they have made together.
        gpus: one for each process, where there are some.

    Raises:
        UserError: of the kind `error`.
    """
    by_worker = [0] * count
    errors: list[BaseException] = []
    workers = [
        Worker(module, order, (*words, str(i), str(count)), gpus[i] if gpus else None, error) for i in range(count)
    ]

    def follow(index: int) -> None:
        try:
            for said in workers[index].says():
                by_worker[index] = int(said.get("made", by_worker[index]))
        except BaseException as problem:
            errors.append(problem)

    threads = [threading.Thread(target=follow, args=(index,), daemon=True) for index in range(count)]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not errors:
            made(sum(by_worker))
            time.sleep(LOOK_S)
    finally:
        for worker in workers:
            worker.end()
    if errors:
        raise errors[0]
    made(sum(by_worker))
