"""MSLS' own evaluation script, out of a clone that is at hand, under today's numpy."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tarfile
import types
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

OFFICIAL = "mapillary+mapillary_sls"
Official = Callable[[Path, Path, str, str], dict[str, float]]
"""Tree, predictions, cities, subtask: the metrics."""


class _Neighbours:
    """scikit-learn's search within a radius, the rim included, as the script uses it."""

    def __init__(self, algorithm: str) -> None:
        assert algorithm == "brute"

    def fit(self, places: np.ndarray) -> None:
        self.places = places

    def radius_neighbors(self, asked: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
        away = [np.hypot(*(self.places - place).T) for place in asked]
        out = np.empty((2, len(asked)), object)
        for row, distances in enumerate(away):
            out[:, row] = distances[distances <= radius], np.flatnonzero(distances <= radius)
        return out[0], out[1]


class _OldNumpy:
    """numpy as it was: lists of unequal length became arrays of objects."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def asarray(self, values: Any) -> np.ndarray:
        try:
            return np.asarray(values)
        except ValueError:
            out = np.empty(len(values), object)
            out[:] = values
            return out


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Official]:
    """The script's `main`, answering with the metrics that it prints, unrounded."""
    pytest.importorskip("pandas", reason="the official evaluation reads its CSVs with pandas")
    named = os.environ.get("VPRDIST_MSLS_REPO")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / ".mirror" / OFFICIAL / "repo"
    if not folder.is_dir():
        pytest.skip(f"no official evaluation at {folder}: set VPRDIST_MSLS_REPO to a clone of mapillary_sls")
    out = tmp_path_factory.mktemp("official")
    with (out / "all.tar").open("wb") as stream:
        command = [
            "git",
            "-c",
            "safe.directory=*",
            "-C",
            str(folder),
            "archive",
            "HEAD",
            "evaluate.py",
            "mapillary_sls",
        ]
        done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        pytest.skip(f"{folder} is no clone of mapillary_sls: {done.stderr.decode().strip()}")
    with tarfile.open(out / "all.tar") as archive:
        archive.extractall(out, filter="data")
    with pytest.MonkeyPatch.context() as patch:
        neighbours = types.ModuleType("sklearn.neighbors")
        neighbours.NearestNeighbors = _Neighbours  # type: ignore[attr-defined]
        package = types.ModuleType("sklearn")
        package.__spec__ = ModuleSpec("sklearn", None)  # torch asks whether there is one
        patch.setitem(sys.modules, "sklearn", package)
        patch.setitem(sys.modules, "sklearn.neighbors", neighbours)
        patch.setattr(np, "in1d", np.isin, raising=False)
        patch.syspath_prepend(out)
        script = importlib.import_module("evaluate")
        patch.setattr(sys.modules["mapillary_sls.datasets.msls"], "np", _OldNumpy())
        returned: list[dict[str, float]] = []
        count = script.eval
        patch.setattr(script, "eval", lambda *words, **more: returned.append(count(*words, **more)) or returned[-1])

        def answer(root: Path, predictions: Path, cities: str, subtask: str) -> dict[str, float]:
            words = ["--msls-root", root, "--prediction", predictions, "--cities", cities, "--subtask", subtask]
            patch.setattr(sys, "argv", ["evaluate.py", *map(str, words)])
            script.main()
            return returned.pop()

        yield answer
        for name in [name for name in sys.modules if name.split(".")[0] in ("evaluate", "mapillary_sls")]:
            del sys.modules[name]
