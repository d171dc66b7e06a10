"""What each tracker has, read back by the tracker's own means."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from vprdist.files import locked
from vprdist.trackers.mlflow_runs import _name as mlflow_name

Rows = list[tuple[str, int, float, float]]


@dataclass
class Seen:
    """One run: (name, step, time, value) of every number, the state and notes, and the configuration by dotted keys."""

    rows: Rows = field(default_factory=list)
    results: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    status: str = ""
    files: list[str] = field(default_factory=list)


class TensorBoardReader:
    word = "tensorboard"
    status: ClassVar[dict[str, str]] = dict.fromkeys(
        ("finished", "failed", "cancelled", "stopped early", "running"), ""
    )

    def __init__(self, store: Path) -> None:
        self.store = store

    @staticmethod
    def value(number: float) -> float:
        return float(np.float32(number))

    @staticmethod
    def name(name: str) -> str:
        return name

    def run(self, run_id: str) -> Seen:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray

        (folder,) = self.store.glob(f"*{run_id}")
        events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
        events.Reload()
        seen = Seen()
        for tag in events.Tags()["tensors"]:
            for event in events.Tensors(tag):
                value = make_ndarray(event.tensor_proto).item()
                if isinstance(value, bytes):
                    seen.notes[tag] = value.decode()
                elif tag.startswith("result/"):
                    seen.results[tag] = value
                else:
                    seen.rows.append((tag, event.step, event.wall_time, value))
        text = seen.notes.pop("configuration")
        seen.config = json.loads(text.partition("```json")[2].rpartition("```")[0])
        for line in seen.notes.pop("state", "").splitlines():
            name, bar, value = line.removeprefix("| ").removesuffix(" |").partition(" | ")
            if bar:
                seen.notes[name] = value
        seen.files = [name for name in seen.notes if name == "leaderboard"]
        return seen


class MlflowReader:
    word = "mlflow"
    status: ClassVar[dict[str, str]] = {
        "finished": "FINISHED", "failed": "FAILED", "cancelled": "KILLED", "stopped early": "FINISHED",
        "running": "RUNNING",
    }  # fmt: skip

    def __init__(self, store: Path) -> None:
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store}/mlflow.db")

    @staticmethod
    def value(number: float) -> float:
        return number

    name = staticmethod(mlflow_name)

    def run(self, run_id: str) -> Seen:
        experiments = [each.experiment_id for each in self.client.search_experiments()]
        (run,) = self.client.search_runs(experiments, f"tags.`vprdist.run` = '{run_id}'")
        seen = Seen(status=run.info.status, config=dict(run.data.params))
        for name in run.data.metrics:
            for metric in self.client.get_metric_history(run.info.run_id, name):
                if name.startswith(("result/", "trials")):
                    seen.results[name] = metric.value
                else:
                    seen.rows.append((name, metric.step, metric.timestamp / 1000, metric.value))
        seen.notes = {name.removeprefix("vprdist."): text for name, text in run.data.tags.items()}
        seen.files = [each.path for each in self.client.list_artifacts(run.info.run_id)]
        return seen


class WandbReader:
    """Its package has no reader but that which sends: the log is taken apart here, its records by their protobufs."""

    word = "wandb"
    status: ClassVar[dict[str, str]] = {
        "finished": "0", "failed": "1", "cancelled": "1", "stopped early": "0", "running": "preempting",
    }  # fmt: skip

    def __init__(self, store: Path) -> None:
        self.store = store

    @staticmethod
    def value(number: float) -> float:
        return number

    @staticmethod
    def name(name: str) -> str:
        return name

    def run(self, run_id: str) -> Seen:
        (path,) = self.store.glob(f"offline-run-*-{run_id}/run-{run_id}.wandb")
        seen, numbers = Seen(), list[int]()
        for record in _records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                assert record.run.run_id == run_id
                seen.config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "history":
                row = {item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                numbers.append(row.pop("_step"))
                step, time = row.pop("step"), row.pop("_timestamp")
                row.pop("_runtime")
                seen.rows += [(name, step, time, float(value)) for name, value in row.items()]
            elif kind == "summary":
                for item in record.summary.update:
                    name, value = "".join(item.nested_key) or item.key, json.loads(item.value_json)
                    if name.startswith(("result/", "trials")):
                        seen.results[name] = value
                    elif name.startswith("vprdist/"):
                        seen.notes[name.removeprefix("vprdist/")] = value
            elif kind == "artifact":
                seen.files += [each.path for each in record.artifact.manifest.contents]
            elif kind == "preempting":
                seen.status = "preempting"
            elif kind == "exit" and not seen.status:
                seen.status = str(record.exit.exit_code)
        assert numbers == list(range(len(numbers))), "every point once, by its number"
        return seen


class TrackioReader:
    word = "trackio"
    status: ClassVar[dict[str, str]] = dict.fromkeys(
        ("finished", "failed", "cancelled", "stopped early", "running"), ""
    )

    def __init__(self, store: Path) -> None:
        self.store = store

    @staticmethod
    def value(number: float) -> float:
        return number

    @staticmethod
    def name(name: str) -> str:
        return name

    def run(self, run_id: str) -> Seen:
        from datetime import datetime

        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        (run,) = [each for each in trackio.Api().runs("vprdist") if each.id == run_id]
        seen = Seen(config=dict(run.config), notes=dict(run.config["vprdist"]))
        for row in SQLiteStorage.get_logs("vprdist", run.name, run_id=run_id):
            at, step = datetime.fromisoformat(row.pop("timestamp")).timestamp(), row.pop("step")
            for name, value in row.items():
                if name.startswith(("result/", "trials")):
                    seen.results[name] = value
                elif isinstance(value, dict):
                    seen.files.append(name)
                else:
                    seen.rows.append((name, step, at, float(value)))
        return seen


def _records(path: Path) -> Iterator[Any]:
    """The records of a log of LevelDB's form: blocks of 32 kB, each part with a check sum, its length and kind."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


READERS = {each.word: each for each in (TensorBoardReader, MlflowReader, WandbReader, TrackioReader)}
WORDS = tuple(READERS)


@pytest.fixture(params=WORDS)
def word(request, monkeypatch, tmp_path, shared_by_workers) -> str:
    """Each tracker that is installed, without a server and without what a person has set."""
    ready(request.param, monkeypatch, tmp_path)
    if request.param == "mlflow":
        place = tmp_path / "runs" / "sweeps" / "made" / "track" / "mlflow" / "store"
        place.mkdir(parents=True)
        shutil.copy(empty_database(shared_by_workers), place / "mlflow.db")
    return request.param


def empty_database(folder: Path) -> Path:
    """MLflow's, as it makes it itself, which takes ten seconds."""
    path = folder / "mlflow-empty" / "mlflow.db"
    path.parent.mkdir(exist_ok=True)
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            from mlflow.tracking import MlflowClient

            MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


def ready(word: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tracker is here, and finds no server."""
    pytest.importorskip(word, reason=f"pip install 'vprdist[{word}]'")
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    if word == "trackio":  # it is read once a process
        from trackio import sqlite_storage, utils

        place = tmp_path / "runs" / "sweeps" / "made" / "track" / "trackio" / "store"
        monkeypatch.setenv("TRACKIO_DIR", str(place))
        for module in (sqlite_storage, utils):
            monkeypatch.setattr(module, "TRACKIO_DIR", place)
