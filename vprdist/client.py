"""What a program of the user's own calls: its parameters, its numbers, whether to stop, its result.

Nothing but Python's own library is used, and nothing of vprdist's: the file may be copied beside a program. Run by
itself, without vprdist, a program finds its defaults, and what it logs is printed.

    from vprdist import client

    params = client.params(lr=0.1, epochs=10)
    for epoch in range(params["epochs"]):
        loss = train(lr=params["lr"])
        client.log(epoch + 1, loss=loss)
        if client.should_stop():          # the cluster wants the node back
            save(client.checkpoint_folder())
            raise SystemExit
    client.finish(loss=loss)

The environment says the same to programs in other languages: `VPRDIST_TRIAL` (a JSON file: `params`, `seed`, `data`),
`VPRDIST_FOLDER` (for what it leaves), `VPRDIST_CHECKPOINT` (a folder that is there again after a requeue),
`VPRDIST_METRICS` (a JSON object a line: `step` and numbers), `VPRDIST_FINISHED` (a JSON file: `metrics`),
`VPRDIST_STOP` (a file that is there once it should save and leave), `VPRDIST_RANK`, `VPRDIST_LOCAL_RANK`,
`VPRDIST_WORLD_SIZE`, `VPRDIST_MASTER_ADDR`, `VPRDIST_MASTER_PORT` (and these five without `VPRDIST_`, as torch has
them).
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsFloat

Number = SupportsFloat


def params(**defaults: Any) -> dict[str, Any]:
    """The trial's parameters, `trial.params` of the sweep file, over these defaults.

    Raises:
        KeyError: a parameter that the defaults do not have, where there are some: a misspelt one would do nothing.
    """
    given: dict[str, Any] = trial().get("params", {})
    if defaults and (unknown := sorted(set(given) - set(defaults))):
        known = ", ".join(sorted(defaults))
        raise KeyError(f"trial.params has {', '.join(unknown)}, which the program does not know; it has {known}")
    return {**defaults, **given}


def trial() -> dict[str, Any]:
    """Everything that is known of the trial: `params`, `seed`, `data`, …; empty where vprdist did not start us."""
    path = os.environ.get("VPRDIST_TRIAL")
    if path is None:
        return {}
    found: dict[str, Any] = json.loads(Path(path).read_text())
    return found


def seed(default: int = 0) -> int:
    """The trial's seed: trials of one row differ in it alone."""
    return int(trial().get("seed", default))


def rank() -> int:
    """This process among those of the job; 0 writes."""
    return int(os.environ.get("VPRDIST_RANK", "0"))


def world_size() -> int:
    """How many processes the job has."""
    return int(os.environ.get("VPRDIST_WORLD_SIZE", "1"))


def folder() -> Path:
    """Where what it leaves belongs; the working folder where vprdist did not start us."""
    return Path(os.environ.get("VPRDIST_FOLDER", "."))


def checkpoint_folder() -> Path:
    """Where a checkpoint belongs: after a requeue it is there again. Publish a file there by renaming it."""
    path = Path(os.environ.get("VPRDIST_CHECKPOINT", "checkpoint"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def log(step: int, **numbers: Number) -> None:
    """Numbers of a step: curves, searches and schedulers see them. Ranks other than 0 are not heard.

    A number that is not finite is left out of the row, and said.

    Raises:
        TypeError, ValueError: what is given is no number, or the step is no whole number from 0 on.
    """
    if isinstance(step, bool) or int(step) != step or step < 0:
        raise ValueError(f"a step must be a whole number from 0 on, and not {step!r}")
    row: dict[str, Any] = {"kind": "evaluate", "step": int(step), **_finite(numbers, f"step {step}")}
    path = os.environ.get("VPRDIST_METRICS")
    if rank() == 0 and path is None:
        print(" ".join(f"{name}={value:g}" for name, value in row.items() if name != "kind"), flush=True)
    elif rank() == 0 and path is not None:
        _append(Path(path), {**row, "time": round(time.time(), 3)})


def should_stop() -> bool:
    """Whether to save and leave: the cluster wants the node back, or the time limit is near. Ask at every step."""
    path = os.environ.get("VPRDIST_STOP")
    return path is not None and Path(path).exists()


def finish(
    *, predictions: str | Path | None = None, descriptors: str | Path | Sequence[str | Path] | None = None,
    **numbers: Number,
) -> None:  # fmt: skip
    """The result, once, at the end; the program may tidy up after it. Ranks other than 0 are not heard.

    Args:
        predictions: a file of predictions, where `trial.job.leaves` says so: a query's key and those retrieved a line.
        descriptors: files of descriptors (.npz, or .npy with its keys in a .txt), likewise.
        numbers: of its own, by any names.

    Raises:
        TypeError, ValueError: what is given is no number.
    """
    files = [descriptors] if isinstance(descriptors, (str, Path)) else list(descriptors or ())
    said = {
        "metrics": _finite(numbers, "the result"),
        "not_finite": sorted(name for name, value in numbers.items() if not math.isfinite(float(value))),
        "predictions": None if predictions is None else str(Path(predictions).absolute()),
        "descriptors": [str(Path(each).absolute()) for each in files],
    }
    path = os.environ.get("VPRDIST_FINISHED")
    if rank() == 0 and path is None:
        print(f"finished: {json.dumps(said['metrics'])}", flush=True)
    elif rank() == 0 and path is not None:
        partial = Path(f"{path}.partial")
        partial.write_text(json.dumps(said))
        partial.replace(path)


def _finite(numbers: Mapping[str, Number], where: str) -> dict[str, float]:
    values = {name: float(value) for name, value in numbers.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            print(f"vprdist.client: {where}: {name} is {value}; it is left out", file=sys.stderr, flush=True)
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _append(path: Path, row: Mapping[str, Any]) -> None:
    """One write a line: whoever reads meanwhile sees whole lines."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, (json.dumps(row) + "\n").encode())
    finally:
        os.close(descriptor)


def _call(name: str) -> None:
    """Call `path/file.py:name` or `package.module:name`; numbers that it returns are its result."""
    where, _, called = name.rpartition(":")
    if where.endswith(".py"):
        path = Path(where)
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 (what an interpreter itself would put there)
        module = importlib.import_module(where)
    answer = getattr(module, called)()
    if isinstance(answer, Mapping):
        finish(**answer)


if __name__ == "__main__":
    _call(sys.argv[1])
