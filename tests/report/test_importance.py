"""Which axes matter, from finished run folders: claims, notes on what cannot be told, files and refusals."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.making import HOSTILE, consistent, leave, records_of, result, write_queries, written
from vprdist.cli import main
from vprdist.game.shares import Told
from vprdist.report.board_page import page_path
from vprdist.report.importance import Importance, importances
from vprdist.report.importance_tables import answer, lines, markdown, reading
from vprdist.report.rows import group_rows
from vprdist.spec.result import ResultRow
from vprdist.store.queries import queries_path, read_queries

Made = list[tuple[ResultRow, Any]]
LEVEL = {"rgb": 0.45, "masked": 0.6, "rgb+mask": 0.5}


def made(
    points: Sequence[dict[str, Any]], share: Callable[[dict[str, Any]], float], seeds: int = 3, noise: float = 0.3
) -> Made:
    """Trials at points under seeds, each with its queries."""
    every = [point | {"seed": seed} for point in points for seed in range(seeds)]
    return [(result(0.5, **point), records_of(share(point), number, noise=noise)) for number, point in enumerate(every)]


def grid(**axes: Sequence[Any]) -> list[dict[str, Any]]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def told(tmp_path: Path, files: Made, objective: str = "recall@1") -> tuple[list[Importance], list[str]]:
    files = [(consistent(one, records), records) for one, records in files]
    for one, records in files:
        if records is not None:
            write_queries(tmp_path / one.trial_id, records)
    names = {one.trial_id: one.trial.model_copy(update={"seed": 0}).trial_id for one, _ in files}
    rows = group_rows([one for one, _ in files], names, objective)
    found, silent = importances(rows, objective, lambda trial: read_queries(queries_path(tmp_path / trial)))
    return found, [why for _, why in silent]


def by_mode(point: dict[str, Any]) -> float:
    return LEVEL[point["mode"]]


def test_the_axis_that_was_planted_matters_and_the_others_are_not_told(tmp_path) -> None:
    points = grid(mode=("rgb", "masked", "rgb+mask"), unfreeze=("0-2", "all"), margin=(0.5, 0.3))
    (found,), _ = told(tmp_path, made(points, by_mode))
    assert {each.title: each.claim for each in found.axes} == {
        "input.mode": "matters", "network.unfreeze": "not told", "train.loss.margin": "not told",
    }  # fmt: skip
    assert found.axes[0].title == "input.mode" and found.axes[0].share.value > 0.5
    assert (found.num_trials, found.num_rows, found.of_seeds) == (36, 12, True)
    best = found.axes[0].values[0]
    assert (best.value, best.num_rows) == ("masked", 4) and best.adds.low > 0
    assert sum(each.share.value for each in found.axes) + found.luck + found.queries + found.rest == pytest.approx(1)
    assert answer(found).startswith("What matters for R@1: input.mode (")
    assert "Not told from chance: " in answer(found)


def test_values_are_compared_at_equal_values_of_other_axes(tmp_path) -> None:
    """A balanced design: differences of plain means; the seed is no axis."""
    points = grid(mode=("rgb", "masked"), unfreeze=("0-2", "all"))
    files = made(points, by_mode)
    (found,), _ = told(tmp_path, files)
    scores = {
        mode: np.mean([np.mean([r["recall@1"] for r in records if r["subtask"] == "all"]) for one, records in files
                       if one.trial.input.mode == mode])
        for mode in ("rgb", "masked")
    }  # fmt: skip
    values = {each.value: each.adds.value for axis in found.axes if axis.title == "input.mode" for each in axis.values}
    assert values["masked"] - values["rgb"] == pytest.approx(scores["masked"] - scores["rgb"])
    assert values["masked"] == pytest.approx(-values["rgb"])
    assert "seed" not in " ".join(each.title for each in found.axes)


def test_axes_that_vary_together_have_one_number_and_a_word_for_it(tmp_path) -> None:
    points = [
        {"mode": mode, "margin": 0.5 if mode == "rgb" else 0.3, "unfreeze": unfreeze}
        for mode, unfreeze in itertools.product(("rgb", "masked"), ("0-2", "all"))
    ]
    (found,), _ = told(tmp_path, made(points, by_mode))
    assert {each.title for each in found.axes} == {"input.mode + train.loss.margin", "network.unfreeze"}
    assert any("input.mode and train.loss.margin vary together" in note for note in found.notes)
    assert [each.value for each in found.axes[0].values] == ["masked, 0.3", "rgb, 0.5"]


def test_many_numbers_are_thirds_and_names_of_rows_are_no_axis(tmp_path) -> None:
    margins = [0.1 + 0.05 * n for n in range(9)]
    points = [{"margin": margin, "mode": ("rgb", "masked")[n % 2]} for n, margin in enumerate(margins)]
    (found,), _ = told(tmp_path, made(points, by_mode, seeds=2))
    margin = next(each for each in found.axes if each.title == "train.loss.margin")
    assert sorted(each.value for each in margin.values) == ["0.1 to 0.2", "0.25 to 0.35", "0.4 to 0.5"]
    assert any("train.loss.margin has 9 numbers" in note for note in found.notes)
    layers = [f"{first}-{last}" for first in range(4) for last in range(3)][1:11]
    points = [{"unfreeze": unfreeze, "mode": ("rgb", "masked")[n % 2]} for n, unfreeze in enumerate(layers)]
    (found,), _ = told(tmp_path / "words", made(points, by_mode, seeds=2))
    assert [each.title for each in found.axes] == ["input.mode"]
    assert any("network.unfreeze is left out: 10 values in 10 rows" in note for note in found.notes)


def test_one_seed_a_row_is_judged_by_what_no_axis_explains(tmp_path) -> None:
    points = grid(mode=("rgb", "masked", "rgb+mask"), unfreeze=("0-2", "all", "0-4"))
    (found,), _ = told(tmp_path, made(points, by_mode, seeds=1, noise=0.05))
    assert not found.of_seeds and found.rest == 0
    assert found.axes[0].title == "input.mode" and found.axes[0].claim == "matters"
    assert any(note.startswith("One seed a row") for note in found.notes)
    assert lines(found)[-2][0] == "(what no axis explains)"


def test_where_nothing_is_left_to_judge_by_nobody_can_tell(tmp_path) -> None:
    points = grid(mode=("rgb", "masked"))
    (found,), _ = told(tmp_path, made(points, by_mode, seeds=1))
    assert [each.claim for each in found.axes] == ["nobody can tell"]
    assert any("nothing tells their effects from luck" in note for note in found.notes)
    assert answer(found) == "Nobody can tell from these trials: input.mode."


def test_protocols_stand_apart_and_share_one_correction(tmp_path) -> None:
    points = grid(mode=("rgb", "masked"), unfreeze=("0-2", "all"))
    night = [(result(0.5, subtask="s2w", **p, margin=0.4, seed=s), records_of(by_mode(p), 50 + s, noise=0.3))
             for p in points for s in range(2)]  # fmt: skip
    lonely = [(result(0.5, num_queries=7, margin=0.2), records_of(0.5, 99))]
    found, silent = told(tmp_path, [*made(points, by_mode, seeds=2), *night, *lonely])
    assert len({one.protocol.fingerprint for one in found}) == 2 and all(one.num_trials == 8 for one in found)
    assert silent == ["every axis has one value in the 1 trials that have results"]
    ps = sorted((each.p, each.p_holm) for one in found for each in one.axes)
    assert ps[0][1] == pytest.approx(min(1.0, 4 * ps[0][0]))


def test_rows_without_queries_are_left_out_and_named(tmp_path) -> None:
    files = made(grid(mode=("rgb", "masked"), unfreeze=("0-2", "all")), by_mode, seeds=2)
    files[-1] = (files[-1][0], None)
    (found,), _ = told(tmp_path, files)
    assert (found.num_rows, found.num_trials) == (3, 6)
    assert any("there are no per-query results" in note for note in found.notes)


def test_equal_trials_are_told_as_equal(tmp_path) -> None:
    points = grid(mode=("rgb", "masked"), unfreeze=("0-2", "all"))
    same = [(one, records_of(0.5, 0)) for one, _ in made(points, by_mode)]
    (found,), _ = told(tmp_path, same)
    assert all(each.share.value == 0 and each.claim == "not told" for each in found.axes)
    assert "nan" not in markdown([found], "t")


def test_hostile_values_are_words(tmp_path) -> None:
    points = grid(mode=("rgb", "masked"), unfreeze=("0-2", "all"))
    (found,), _ = told(tmp_path, made(points, by_mode))
    text = markdown([found], HOSTILE)
    assert "<script>" not in text.replace("\\<script>", "") and text.startswith("# ")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    files = made(grid(mode=("rgb", "masked", "rgb+mask"), unfreeze=("0-2", "all")), by_mode)
    leave(tmp_path, files[:12], name="first")
    leave(tmp_path, files[6:], name="second")
    return tmp_path


def test_the_command_writes_beside_the_sweep_that_is_named(runs: Path, capsys) -> None:
    assert main(["importance", "first", "--runs", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "What matters for R@1: input.mode" in said and "(another seed)" in said
    folder = runs / "sweeps" / "first"
    value = json.loads((folder / "importance.json").read_text())
    (protocol,) = value["protocols"]
    assert protocol["axes"][0]["keys"] == ["input.mode"] and protocol["axes"][0]["claim"] == "matters"
    records = list(csv.DictReader((folder / "importance.csv").read_text().splitlines()))
    shares = [float(record["share"]) for record in records if record["share"]]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert {record["value"] for record in records} == {"", "rgb", "masked", "0-2", "all"}
    assert (folder / "importance.md").read_text().startswith("# Which axes matter?")


def test_several_sweeps_and_a_whole_run_folder_count_each_trial_once(runs: Path, capsys) -> None:
    for words in (["first", "second", "--runs", str(runs)], ["--runs", str(runs)], [str(runs)]):
        assert main(["importance", *words]) == 0
        assert "18 trials in 6 rows" in capsys.readouterr().out
    assert not list(runs.rglob("importance.*"))


def test_trials_without_a_result_and_broken_ones_are_left_out_and_told(runs: Path, capsys) -> None:
    first, second, *_ = sorted((runs / "trials").iterdir())
    (first / "result.json").unlink()
    (second / "result.json").write_text("{")
    assert main(["importance", "--runs", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "16 trials in " in said and "left out: " in said and "2 of 18 trials have no result" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nosuch"], "no such sweep, and no such run folder: 'nosuch'. Sweeps: first, one, second."),
        (["../up"], "no such sweep, and no such run folder: '../up'"),
        (["one"], "one: no axis can be compared: every axis has one value in the 2 trials that have results."),
        (["first", "other"], "--objective: the sweeps have several objectives, and none is named"),
    ],
)
def test_refusals(runs: Path, capsys, words: list[str], message: str) -> None:
    leave(runs, made([{"mode": "rgb"}], by_mode, seeds=2), name="one")
    if "other" in words:
        leave(runs, made([{"mode": "rgb"}], by_mode, seeds=2), name="other")
        manifest = runs / "sweeps" / "other" / "manifest.json"
        manifest.write_text(manifest.read_text().replace("recall@1", "map@5", 1))
    assert main(["importance", *words, "--runs", str(runs)]) == 2
    assert message in capsys.readouterr().err


def test_a_run_folder_without_trials_or_results_is_refused(tmp_path, capsys) -> None:
    assert main(["importance", "--runs", str(tmp_path)]) == 2
    assert "no trials are there" in capsys.readouterr().err
    (tmp_path / "trials" / "abc").mkdir(parents=True)
    assert main(["importance", "--runs", str(tmp_path)]) == 2
    assert "no trial has a result" in capsys.readouterr().err


def test_how_to_read_it_names_what_is_judged_by(tmp_path) -> None:
    (found,), _ = told(tmp_path, made(grid(mode=("rgb", "masked"), unfreeze=("0-2", "all")), by_mode))
    text = " ".join(reading(found))
    assert "what another seed changes" in text and "Holm" in text and "input.mode × network.unfreeze" in text


def test_a_form_is_told_over_the_rows_that_have_masks(tmp_path) -> None:
    """Rows without masks have no form: they say nothing of it, and what masks change is no part of it."""
    masked = grid(mask_fill=("black", "blur", "noise"), unfreeze=("0-2", "all"))
    files = []
    for number, point in enumerate([*grid(mode=("rgb",), unfreeze=("0-2", "all")), *masked]):
        for seed in range(3):
            mode, fill = point.get("mode", "masked"), point.get("mask_fill", "black")
            one = result(0.5, mode=mode, unfreeze=point["unfreeze"], seed=seed)
            asked = one.trial.input.model_copy(update={"mask_fill": fill})
            trial = one.trial.model_copy(update={"input": asked})
            one = one.model_copy(update={"trial": trial, "trial_id": trial.trial_id})
            files.append((one, records_of(0.4 if mode == "rgb" else 0.6, 10 * number + seed, noise=0.3)))
    (found,), _ = told(tmp_path, files)
    axes = {each.title: each for each in found.axes}
    assert axes["input.mode"].claim == "matters" and axes["input.mask_fill"].claim == "not told"
    assert {each.value: each.num_rows for each in axes["input.mask_fill"].values} == {"black": 2, "blur": 2, "noise": 2}
    assert axes["input.mask_fill"].share.value < 0.1 < axes["input.mode"].share.value
    assert any(note.startswith("input.mask_fill is told over the 6 of 8 rows that have it") for note in found.notes)


def test_shares_below_nothing_are_shown_as_none_and_the_sum_is_said(tmp_path) -> None:
    (found,), _ = told(tmp_path, made(grid(mode=("rgb", "masked"), unfreeze=("0-2", "all")), by_mode))
    assert not any("the lines add up to" in line for line in reading(replace(found, axes=(found.axes[0],))))
    below = replace(found.axes[1], share=Told(-0.67, -0.9, 0.1))
    text = " ".join(reading(replace(found, axes=(found.axes[0], below))))
    assert "add up to 167 %, not 100 %" in text


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_draws_it_within_the_screen_with_words_that_do_not_meet(runs: Path, browser, width: int) -> None:
    folder = runs / "sweeps" / "first"
    text = written(folder, runs)
    assert text.count("Which axes matter</h3>") == 1
    browser.open(page_path(folder), width)
    assert browser.complaints == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelector('#axes1 + p').textContent").startswith(
        "What matters for R@1: input.mode"
    )
    bars = """[...document.querySelectorAll('#axes1 ~ figure .share')].map(
      (e) => [e.getAttribute('class'), e.getBoundingClientRect().width])"""
    found = browser.run(bars)
    assert [kind for kind, _ in found] == ["share told", *["share open"] * (len(found) - 1)]
    assert found[0][1] == max(wide for _, wide in found)
    script = """[...document.querySelectorAll('#axes1 ~ figure .effects text.mid')].map(
      (e) => { const b = e.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; })"""
    for one, other in itertools.combinations(browser.run(script), 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] + 3 or other[3] <= one[1] + 3


def test_the_page_is_silent_where_nobody_can_tell_or_one_axis_is_there(tmp_path: Path) -> None:
    for name, files in {
        "one": made(grid(mode=("rgb", "masked")), by_mode),
        "seedless": made(grid(mode=("rgb", "masked"), unfreeze=("0-2", "all"))[:3], by_mode, seeds=1),
    }.items():
        assert "Which axes matter" not in written(leave(tmp_path / name, files), tmp_path / name)


def test_networks_that_nobody_trains_are_judged_by_queries_alone(tmp_path: Path) -> None:
    """One seed a row, and as many coefficients as rows: a seed would change nothing."""
    files = []
    for one, records in made(grid(mode=("rgb", "masked"), unfreeze=("0-2", "all"))[:3], by_mode, seeds=1):
        still = one.trial.train.model_copy(update={"steps": 0})
        trial = one.trial.model_copy(update={"train": still})
        files.append((one.model_copy(update={"trial": trial, "trial_id": trial.trial_id}), records))
    (found,), _ = told(tmp_path, files)
    assert {each.title: each.claim for each in found.axes} == {"input.mode": "matters", "network.unfreeze": "not told"}
    assert found.luck == 0 and any("Nobody trained these networks" in note for note in found.notes)
