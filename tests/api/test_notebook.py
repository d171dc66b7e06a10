"""The notebook that is shipped, executed in a real kernel: its sweep is really run, and its outputs are looked at."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vprdist.parquet import read_parquet

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel", reason="needs the extra `notebooks`")
pytest.importorskip("pandas", reason="needs the extra `notebooks`")
pytest.importorskip("matplotlib", reason="needs the extra `plots`")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "sweeps" / "results.ipynb"


def shown(book: Any, code: str) -> dict[str, Any]:
    """What the cell that begins so has shown last, by kind."""
    (cell,) = [each for each in book.cells if each.cell_type == "code" and each.source.startswith(code)]
    return dict(cell.outputs[-1].data)


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_its_sweep_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    book = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(book, timeout=570, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    folder = tmp_path / "runs" / "sweeps" / "notebook"
    file = read_parquet(folder / "leaderboard.parquet")
    assert len(file["name"]) == 2 and (folder / "leaderboard.html").is_file()
    board = shown(book, "sweep.leaderboard")["text/html"]
    assert all(name in board for name in file["name"]) and "One seed a row" in board and "<script" not in board
    low, high = file["recall@1_low"][0], file["recall@1_high"][0]
    assert f"{file['recall@1'][0]:.3f} [{low:.3f}, {high:.3f}]" in board
    assert "no p is told" in shown(book, "sweep.compare")["text/html"]
    assert "first_positive" in shown(book, "queries = ")["text/html"]
    assert shown(book, "sweep.figure")["image/png"].startswith("iVBOR")
    assert "data:image/png;base64," in shown(book, "sweep.pictures")["text/html"]
    assert "loss" in shown(book, "sweep.metrics")["text/html"]
    assert "failures of notebook" in shown(book, "sweep.failures")["text/html"]
    assert "one gallery of all cities" in shown(book, "vprdist.evaluate(sweep")["text/html"]
    recall = eval(shown(book, "retrieved = ")["text/plain"])["recall@1"]
    assert recall == pytest.approx(file["recall@1"][0])
    run = next(each for each in book.cells if each.source.startswith("city = "))
    said = "".join(each.text for each in run.outputs if each.output_type == "stream")
    assert "trials" in said and "\x1b[" not in said


def test_the_notebook_is_committed_without_outputs():
    book = json.loads(NOTEBOOK.read_text())
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert cells and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert NOTEBOOK.stat().st_size < 10_000
