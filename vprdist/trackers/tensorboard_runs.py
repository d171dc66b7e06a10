"""TensorBoard: a folder of event files for each run. Neither TensorFlow nor torch is loaded.

A run has one file. What was written after the last note of how long it is, by a process that was killed, is cut off
when it is opened again, and written anew: nothing stands there twice. Numbers are rounded to float32: TensorBoard's
usual server shows no others. NaN and infinities stay.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vprdist.trackers.base import Place, Point, Run, RunFacts, Standing

NO_PATH = re.compile(r"[^\w.,=+-]+")
LONGEST = 120
"""Characters of a run's name in its folder's."""


class TensorBoard:
    """Event files in the sweep's folder."""

    def __init__(self, place: Place) -> None:
        self._folder = place.folder
        self.where = str(self._folder)
        self.look = f"tensorboard --logdir {self._folder}"

    def open(self, facts: RunFacts, points: int, kept: Mapping[str, Any]) -> Run:
        """The run's folder is called as TensorBoard shall show it, and ends with the run's id, by which it is found."""
        before = next(self._folder.glob(f"*{facts.run_id}"), None)
        name = NO_PATH.sub("_", facts.name)[:LONGEST]
        return _Run(before or self._folder / f"{name}-{facts.run_id}", facts, points, kept)


class _Run:
    def __init__(self, folder: Path, facts: RunFacts, points: int, kept: Mapping[str, Any]) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "events.out.tfevents.0000000000.vprdist"  # readers know such files by the middle of their names
        size = kept.get("bytes", 0)
        whole = path.exists() and path.stat().st_size >= size > 0
        self.sent = points if whole else 0
        self._stream = path.open("r+b" if whole else "wb")
        if whole:
            self._stream.truncate(size)
            self._stream.seek(size)
        self._records = RecordWriter(self._stream)
        if not whole:
            self._write(file_version="brain.Event:2", wall_time=time.time())
            words = {"name": facts.name, "group": facts.group, **facts.labels}
            self._text("configuration", f"{_table(words)}\n\n```json\n{json.dumps(facts.config, indent=1)}\n```")

    def log(self, points: Sequence[Point]) -> None:
        for point in points:
            self._scalars(point.numbers, point.step, point.time)

    def kept(self) -> Mapping[str, Any]:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return {"bytes": self._stream.tell()}

    def finish(self, standing: Standing) -> Mapping[str, Any]:
        self._scalars(standing.results, standing.step, standing.ended_at)
        self._text("state", _table({"state": standing.state, **standing.notes}))
        for path in standing.files:
            if path.suffix == ".md":
                self._text(path.stem, path.read_text(encoding="utf-8"))
        kept = self.kept()
        self._records.close()
        return kept

    def _scalars(self, numbers: Mapping[str, float], step: int, at: float | None) -> None:
        from tensorboard.plugins.scalar.metadata import create_summary_metadata

        for name, number in numbers.items():
            metadata = create_summary_metadata(display_name="", description="")
            self._value(name, number, metadata, step, at)

    def _text(self, name: str, text: str) -> None:
        from tensorboard.plugins.text.metadata import create_summary_metadata

        self._value(name, text, create_summary_metadata(display_name="", description=""), 0, None)

    def _value(self, name: str, value: float | str, metadata: Any, step: int, at: float | None) -> None:
        import numpy as np
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.util.tensor_util import make_tensor_proto

        tensor = make_tensor_proto(np.float32(value) if isinstance(value, float) else np.array(value.encode(), object))
        summary = Summary(value=[Summary.Value(tag=name, tensor=tensor, metadata=metadata)])
        self._write(summary=summary, step=step, wall_time=at if at and math.isfinite(at) else time.time())

    def _write(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(**fields).SerializeToString())


def _table(words: Mapping[str, str]) -> str:
    """For TensorBoard's texts, which are Markdown."""
    rows = [f"| {name} | {_cell(text)} |" for name, text in words.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
