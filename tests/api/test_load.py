"""`vprdist.load`: what a notebook is given is what the report reads and counts, whatever lies in the run folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import vprdist
from tests.report.making import HOSTILE, four, leave, records_of, result, written
from tests.report.reports import full, six_forms
from vprdist.files import write_json, write_text
from vprdist.parquet import read_parquet
from vprdist.report.attribution import write_attribution
from vprdist.report.plots import write_plots
from vprdist.store.driving import preparing


@pytest.fixture
def sweep(tmp_path: Path) -> vprdist.Sweep:
    """Four rows of one seed, one of them without queries."""
    return vprdist.load(four(tmp_path))


@pytest.fixture
def seeded(tmp_path: Path) -> vprdist.Sweep:
    """Three rows of two seeds, compared with the first."""
    kinds = ((0.5, "rgb", "0-2"), (0.62, "rgb", "all"), (0.72, "masked", "0-2"))
    rows = [
        (result(share, mode=mode, unfreeze=layers, seed=seed), records_of(share, 10 * place + seed, noise=0.3))
        for place, (share, mode, layers) in enumerate(kinds)
        for seed in (0, 1)
    ]
    folder = leave(tmp_path, rows)
    manifest = json.loads((folder / "manifest.json").read_text())
    base = {entry["seed"]: entry["trial"] for entry in manifest["trials"] if entry["name"] == "rgb 0-2"}
    manifest["trials"] = [{**entry, "baseline": base[entry["seed"]]} for entry in manifest["trials"]]
    write_json(folder / "manifest.json", manifest)
    return vprdist.load("mine", runs=tmp_path)


def test_the_package_itself_stays_light():
    """Asking for the version loads nothing else, and loading a sweep does not load torch."""
    code = (
        "import sys; before = set(sys.modules); import vprdist; assert vprdist.__version__ and 'load' in dir(vprdist); "
        "print(sorted(m for m in set(sys.modules) - before if m.split('.')[0] != 'vprdist')); "
        "import vprdist; vprdist.load, vprdist.run, vprdist.evaluate, vprdist.Sweep; "
        "print([m for m in ('torch', 'torchvision', 'faiss', 'ray', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    light, heavy = done.stdout.splitlines()
    assert not {"numpy", "pyarrow", "pydantic", "rich", "yaml"} & set(light.strip("[]").replace("'", "").split(", "))
    assert heavy == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        vprdist.laod  # noqa: B018


def test_the_leaderboard_is_the_file_that_the_command_writes(seeded):
    written(seeded.folder, seeded.runs)
    file = read_parquet(seeded.folder / "leaderboard.parquet")
    assert seeded.leaderboard.to_arrow().to_pydict() == file
    assert list(seeded.leaderboard.to_pandas()["name"]) == file["name"] == list(seeded.rows)
    assert pa.table(seeded.leaderboard).num_rows == len(seeded.leaderboard) == 3
    assert (
        seeded.leaderboard[0] == next(iter(seeded.leaderboard)) and seeded.leaderboard[-1]["name"] == file["name"][-1]
    )
    assert seeded.page.is_file() and seeded.page.parent == seeded.folder


def test_results_have_a_row_a_trial(seeded):
    found = {row["trial"]: row for row in seeded.results}
    assert len(found) == len(seeded.results) == 6
    for trial, row in found.items():
        told = json.loads((seeded.runs / "trials" / trial / "result.json").read_text())
        assert (row["seed"], row["recall@5"], row["wall_s"]) == (
            told["trial"]["seed"], told["metrics"]["recall@5"], told["wall_s"],
        )  # fmt: skip
        assert row["untrained map@1"] == told["untrained"]["map@1"]


def test_two_rows_are_compared_as_the_leaderboard_compares_them(seeded):
    for row in seeded.leaderboard:
        if row["baseline"] is None:
            continue
        found = seeded.compare(row["name"], "rgb 0-2")
        assert (found.value, found.interval, found.p) == (
            row["difference"], (row["difference_low"], row["difference_high"]), row["p"],
        )  # fmt: skip
        assert (found.holds_for, found.metric) == ("settings", "recall@1")
        back = seeded.compare("rgb 0-2", row["name"])
        assert (back.value, back.p) == (-found.value, found.p)
    other = seeded.compare(0, 2, metric="map@5")
    means = seeded.results.to_pandas().groupby("name")["map@5"].mean()
    mine, theirs = means[seeded.rows[0]], means[seeded.rows[2]]
    assert other.value == pytest.approx(mine - theirs, abs=1e-6)
    assert f"R@1 {found.value:+.3f} [" in repr(found) and ", p " in repr(found) and repr(found) in found._repr_html_()


def test_one_seed_a_row_tells_no_p(sweep):
    found = sweep.compare("rgb all", "rgb 0-2")
    assert found.p is None and found.holds_for == "these networks" and "no p is told" in repr(found)


def test_queries_average_to_the_result_and_know_the_first_positive(seeded):
    found = seeded.queries("masked 0-2").to_pandas()
    for (trial, seed), each in found.groupby(["trial", "seed"]):
        told = json.loads((seeded.runs / "trials" / trial / "result.json").read_text())
        assert told["trial"]["seed"] == seed
        assert each["recall@1"].mean() == pytest.approx(told["metrics"]["recall@1"])
    for line in seeded.queries(0):
        ranks = [rank for rank, hit in enumerate(line["hits"], 1) if hit]
        assert line["first_positive"] == (ranks[0] if ranks else None)
    assert set(seeded.queries(0, subtask="s2w")["subtask"]) == {"s2w"}


def test_training_curves_and_figures_and_pictures(sweep):
    curve = sweep.metrics("rgb all")
    assert [row["loss"] for row in curve if row["kind"] == "train"] == [0.2, 0.1]
    assert sweep.figures == ("recall", "leaderboard")
    (_, png, *_) = write_plots(sweep.folder / "plots", sweep.leaderboard.blocks)
    figure = sweep.figure("recall")
    assert figure._repr_png_().startswith(b"\x89PNG")
    figure.savefig(sweep.folder / "again.png", dpi=200)
    one, other = (np.asarray(Image.open(path)) for path in (png, sweep.folder / "again.png"))
    assert np.array_equal(one, other), "the figure is the one that the command draws"
    trial = sweep.results[0]["trial"]
    sheet = Image.new("RGB", (12, 8), "red")
    (sweep.runs / "trials" / trial / "predictions").mkdir(exist_ok=True)
    sheet.save(sweep.runs / "trials" / trial / "predictions" / "sheet.png")
    pictures = sweep.pictures(sweep.rows[0])
    assert list(pictures) == ["sheet"] and np.array_equal(np.asarray(pictures["sheet"]), np.asarray(sheet))
    assert "data:image/png;base64," in pictures._repr_html_()
    write_text(sweep.runs / "trials" / trial / "predictions" / "sheet.png", "no picture")
    assert "cannot be opened as a picture" in sweep.pictures(sweep.rows[0])._repr_html_()
    assert "no pictures were left" in sweep.pictures(sweep.rows[1])._repr_html_()


def test_without_matplotlib_or_pandas_the_extra_is_named(sweep, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(vprdist.UserError, match=r"figure: plots need matplotlib. pip install 'vprdist\[plots\]'"):
        sweep.figure("recall")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(vprdist.UserError, match=r"frames need pandas. pip install 'vprdist\[notebooks\]'"):
        sweep.results.to_pandas()


@pytest.mark.parametrize("report", [full(4), six_forms(4)], ids=["players", "forms"])
def test_an_attribution_is_shown_as_the_report_words_it(sweep, report):
    assert sweep.attribution is None
    write_attribution(sweep.folder, report)
    found = sweep.reload().attribution
    assert found.report == report
    assert found.effects.to_arrow().to_pydict() == read_parquet(sweep.folder / "attribution.parquet")
    html = found._repr_html_()
    assert "<script" not in html and report.settings[0].players[0].adds.value == pytest.approx(
        next(each["value"] for each in found.effects if each["kind"] == "adds")
    )
    assert all(each in repr(found) for each in found.answers) and len(found.answers) >= len(report.settings)
    assert any(name.startswith("attribution") for name in sweep.reload().figures)


def test_a_damaged_file_costs_its_row_and_is_named(tmp_path):
    folder = four(tmp_path)
    first, second, third, _ = (each["trial"] for each in json.loads((folder / "manifest.json").read_text())["trials"])
    trials = tmp_path / "trials"
    write_text(trials / first / "result.json", "{")
    write_text(trials / second / "predictions" / "queries.parquet", "no table")
    write_text(trials / third / "job.json", "no journal")
    (trials / third / "metrics.jsonl").unlink()
    (trials / third / "metrics.jsonl").mkdir()
    sweep = vprdist.load(folder)
    assert len(sweep.results) == len(sweep.leaderboard) == 3 and len(sweep.left_out) == 2
    for shown in (repr(sweep), sweep._repr_html_(), sweep.results._repr_html_(), repr(sweep.leaderboard)):
        assert first in shown and "left out: " in shown
    assert any("job.json" in row["why"] for row in sweep.status if row["why"])
    assert len(sweep.metrics("masked 0-2")) == 0 and "metrics.jsonl" in sweep.metrics("masked 0-2")._repr_html_()
    with pytest.raises(vprdist.UserError, match=r"queries.parquet: per-query results must be readable"):
        sweep.queries("rgb all")
    with pytest.raises(vprdist.UserError, match="rgb all: the row cannot be compared query by query"):
        sweep.compare("masked 0-2", "rgb all")
    with pytest.raises(vprdist.UserError, match="the row has no result yet: 'rgb 0-2'"):
        sweep.queries("rgb 0-2")


def test_a_sweep_without_results_and_one_in_preparation_are_shown(tmp_path):
    folder = four(tmp_path)
    entries = json.loads((folder / "manifest.json").read_text())["trials"]
    for entry in entries:
        (tmp_path / "trials" / entry["trial"] / "result.json").unlink()
    failed = tmp_path / "trials" / entries[0]["trial"] / "failure.json"
    write_json(failed, {"reason": "it <b>died</b>", "attempts": 3, "kind": "died", "log_lines": ["a", "b"]})
    sweep = vprdist.load(folder)
    assert "No trial has a result yet." in sweep._repr_html_() and len(sweep.results) == 0
    (failure,) = sweep.failures
    assert (failure["name"], failure["reason"], failure["log"]) == ("rgb 0-2", "it <b>died</b>", "a\nb")
    assert "&lt;b&gt;died" in sweep.failures._repr_html_() and "1 trial(s) were given up" in sweep._repr_html_()
    assert len(sweep.metrics("rgb all")) == 3, "what an unfinished trial has written is there"
    with preparing(tmp_path / "sweeps" / "coming", "recall@5") as tell:
        tell("the demo city", 3, 10)
        coming = vprdist.load("coming", runs=tmp_path)
        assert (coming.name, coming.objective, coming.rows) == ("coming", "recall@5", ())
        assert "the demo city: 3/10" in repr(coming.status) and "No trial has a result yet." in coming._repr_html_()
    with pytest.raises(vprdist.UserError, match="no such sweep"):
        coming.reload()


def test_names_are_words_and_never_markup(tmp_path):
    rows = [(result(0.5), records_of(0.5, 0)), (result(0.6, unfreeze="all"), records_of(0.6, 1))]
    folder = leave(tmp_path, rows, names=[HOSTILE, "\x1b[31mred\u202e"])
    sweep = vprdist.load(folder)
    shown = [sweep, sweep.results, sweep.leaderboard, sweep.status, sweep.metrics(HOSTILE), sweep.queries(HOSTILE)]
    shown += [sweep.breakdown, sweep.compare(HOSTILE, 0 if sweep.rows[0] != HOSTILE else 1), sweep.failures]
    for each in shown:
        html = each._repr_html_()
        assert "<script" not in html and "\u202e" not in html and "\x1b" not in html
        assert set(re.findall(r"<(/?\w+)", html)) <= {
            each for tag in ("table", "caption", "thead", "tbody", "tr", "th", "td", "p") for each in (tag, f"/{tag}")
        } | {"br"}  # fmt: skip
    assert len(sweep.results._repr_html_()) < 20_000


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: vprdist.load("mien", runs=s.runs), "no such sweep. Sweeps in"),
        (lambda s: vprdist.load(s.runs / "trials"), "the folder of a sweep must lie in a folder `sweeps`"),
        (lambda s: vprdist.load(3), "a sweep must be its name or its folder; found 'int'"),
        (lambda s: s.queries("rgb al"), "no such row: 'rgb al'. Did you mean 'rgb all'?"),
        (lambda s: s.queries(4), "no such row; there are 4: 4"),
        (lambda s: s.queries("rgb all", subtask="d2n"), "no query of that subtask was asked: 'd2n'. Valid: all, s2w."),
        (lambda s: s.queries("masked all"), "no trial of the row has left per-query results"),
        (lambda s: s.metrics("rgb al"), "no such row: 'rgb al'. Did you mean 'rgb all'?"),
        (lambda s: s.compare("rgb all", "rgb 0-2", metric="recall@2"), "no such metric: 'recall@2'. Did you mean"),
        (lambda s: s.figure("recal"), "no such figure: 'recal'. Did you mean 'recall'?"),
        (lambda s: s.results["recall"], "no such column: 'recall'. Did you mean 'recall@5'?"),
    ],
)
def test_bad_words_are_one_message(sweep, ask, message):
    with pytest.raises(vprdist.UserError, match=re.escape(message)):
        ask(sweep)


def test_rows_of_different_protocols_are_not_compared(tmp_path):
    rows = [(result(0.5), records_of(0.5, 0)), (result(0.6, unfreeze="all", subtask="s2w"), records_of(0.6, 1))]
    sweep = vprdist.load(leave(tmp_path, rows))
    with pytest.raises(vprdist.UserError, match="rows of different protocols cannot be compared"):
        sweep.compare("rgb all", "rgb 0-2")
