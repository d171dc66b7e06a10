"""Numbers that a program of the user's own left: ranked and compared by seeds, shown in every form, never mixed up."""

from __future__ import annotations

import csv
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from tests.report.making import four, leave, records_of, result, written
from vprdist.cli import main
from vprdist.console import Console
from vprdist.files import append_json_line, write_json, write_text
from vprdist.parquet import read_parquet
from vprdist.report import importance_tables
from vprdist.report.board import read_board
from vprdist.report.differing import differing
from vprdist.report.importance import importances
from vprdist.report.latex import latex
from vprdist.report.plots import write_plots
from vprdist.report.publish import Wanted, leaderboard
from vprdist.report.reading import reading
from vprdist.report.rows import check_result, group_rows, readable_results
from vprdist.spec.program import ProgramSpec
from vprdist.spec.result import ResultRow
from vprdist.spec.row_name import row_name
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.store.trial_folder import TrialFolder


def own(numbers, *, seed=0, program="train.py", not_finite=(), **params) -> ResultRow:
    job = ProgramSpec(command=("python", program))
    digests = Digests(dataset="none", cache=None, weights="none", code={"job": f"of {program}"})
    trial = TrialSpec(job=job, params=params, seed=seed).undigested.model_copy(update={"digests": digests})
    return ResultRow(
        trial_id=trial.trial_id, trial=trial, protocol=None, metrics=numbers, not_finite=not_finite, steps=10,
        final_loss=None, wall_s=12.0, train_s=12.0, num_ranks=1, device="cpu x1", peak_memory_mb=None, starts=1,
    )  # fmt: skip


def sweep(runs, results, *, objective="loss", direction="minimize", baselines=None, name="mine"):
    folder, entries = runs / "sweeps" / name, []
    for one in results:
        place = TrialFolder.of(runs, one.trial_id)
        place.path.mkdir(parents=True, exist_ok=True)
        place.write_trial(one.trial)
        place.write_result(one)
        axes = [f"params.{key}" for key in one.trial.params]
        called = row_name(one.trial, axes) or one.trial.job.title
        entries.append({"trial": one.trial_id, "name": called, "seed": one.trial.seed})
        if baselines is not None:
            entries[-1]["baseline"] = baselines(one)
    manifest = {"name": name, "objective": objective, "direction": direction, "trials": entries, "fallbacks": []}
    write_json(folder / "manifest.json", manifest)
    write_text(folder / "sweep.yaml", f"name: {name}\n")
    return folder


LOSSES = {1e-1: (0.52, 0.55, 0.49), 1e-2: (0.31, 0.36, 0.30), 1e-3: (0.41, 0.47, 0.40)}


def three_seeds(runs, **more):
    """Three rates, three seeds each; the first rate is the baseline."""
    made = {
        (lr, seed): own({"loss": loss, "acc": 1 - loss, "big": 123456.7 * loss, "tiny": 1e-7 * loss}, seed=seed, lr=lr)
        for lr, losses in LOSSES.items()
        for seed, loss in enumerate(losses)
    }
    return sweep(runs, [*made.values()], baselines=lambda one: made[0.1, one.trial.seed].trial_id, **more)


def blocks_of(folder, runs):
    return read_board(folder, runs).blocks


def test_rows_are_ranked_by_the_direction(tmp_path):
    folder = three_seeds(tmp_path)
    (block,) = blocks_of(folder, tmp_path)
    assert [row.name for row in block.rows] == ["lr=0.01", "lr=0.001", "lr=0.1"]
    (block,) = blocks_of(three_seeds(tmp_path, direction="maximize"), tmp_path)
    assert [row.name for row in block.rows] == ["lr=0.1", "lr=0.001", "lr=0.01"]
    assert "lowest loss first" in read_board(three_seeds(tmp_path), tmp_path).title


def test_equal_rows_stand_by_their_names(tmp_path):
    folder = sweep(tmp_path, [own({"loss": 0.5}, lr=lr) for lr in (0.3, 0.2, 0.1)])
    (block,) = blocks_of(folder, tmp_path)
    assert [row.name for row in block.rows] == ["lr=0.1", "lr=0.2", "lr=0.3"]
    assert [s.difference and s.difference.value for s in block.standings] == [None, 0.0, 0.0]


def test_intervals_are_students_of_the_mean_over_seeds(tmp_path):
    (block,) = blocks_of(three_seeds(tmp_path), tmp_path)
    for standing in block.standings:
        values = LOSSES[standing.row.trial.params["lr"]]
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert standing.row.metric("loss") == pytest.approx(np.mean(values))
        assert standing.intervals["loss"] == pytest.approx((low, high))
    pooled = math.sqrt(np.mean([np.var(values, ddof=1) for values in LOSSES.values()]))
    assert block.seed_sd == pytest.approx(pooled)


def test_differences_are_paired_by_seed_and_corrected_by_holm(tmp_path):
    (block,) = blocks_of(three_seeds(tmp_path), tmp_path)
    by_rate = {s.row.trial.params["lr"]: s.difference for s in block.standings}
    assert by_rate[0.1] is None
    raw = []
    for lr in (0.01, 0.001):
        mine, base = np.array(LOSSES[lr]), np.array(LOSSES[0.1])
        told = stats.ttest_rel(mine, base)
        raw.append(told.pvalue)
        assert by_rate[lr].value == pytest.approx(np.mean(mine - base))
        assert by_rate[lr].p == pytest.approx(told.pvalue)
        assert by_rate[lr].interval == pytest.approx(tuple(told.confidence_interval(0.95)))
    small, large = sorted(raw)
    assert sorted(by_rate[lr].p_holm for lr in (0.01, 0.001)) == pytest.approx([2 * small, max(2 * small, large)])


def test_the_best_row_as_baseline_is_paid_for_by_all_pairs(tmp_path):
    made = [own({"loss": loss}, seed=s, lr=lr) for lr, each in LOSSES.items() for s, loss in enumerate(each)]
    (block,) = blocks_of(sweep(tmp_path, made), tmp_path)
    assert block.chosen and block.baselines == ["lr=0.01"]
    last = block.standings[-1]
    told = stats.ttest_rel(LOSSES[0.1], LOSSES[0.01])
    assert last.difference.p is None and last.difference.p_all_pairs == pytest.approx(min(1.0, 3 * told.pvalue))
    assert last.difference.interval == pytest.approx(tuple(told.confidence_interval(1 - 0.05 / 3)))


def test_other_seeds_or_seeds_that_change_nothing_tell_no_interval(tmp_path):
    made = [own({"loss": loss}, seed=seed, lr=0.1) for seed, loss in enumerate((0.5, 0.6))]
    made += [own({"loss": loss}, seed=seed, lr=0.2) for seed, loss in zip((1, 2), (0.7, 0.9), strict=True)]
    made += [own({"loss": 0.8}, seed=seed, lr=0.3) for seed in (0, 1)]
    made += [own({"loss": 0.95}, seed=0, lr=0.4)]
    (block,) = blocks_of(sweep(tmp_path, made), tmp_path)
    first, same, other, alone = (
        next(s for s in block.standings if s.row.trial.params["lr"] == lr) for lr in (0.1, 0.3, 0.2, 0.4)
    )
    assert first.intervals and other.intervals and not same.intervals and not alone.intervals
    assert other.difference.value == pytest.approx(0.25) and other.difference.interval is None
    assert alone.difference.interval is None and alone.difference.corrected is None
    assert any("seeds change nothing in lr=0.3" in text for text in reading(block))


def test_one_seed_a_row_says_that_nothing_tells_luck(tmp_path):
    folder = sweep(tmp_path, [own({"loss": 0.5}, lr=0.1), own({"loss": 0.6}, lr=0.2)])
    (block,) = blocks_of(folder, tmp_path)
    assert not block.knows_seeds and all(not s.intervals for s in block.standings)
    assert any("One seed a row" in text for text in reading(block))
    stream = io.StringIO()
    assert leaderboard(folder, tmp_path, Console(file=stream, width=120)) == 0
    assert "seeds=[0,1,2]" in stream.getvalue()


def test_numbers_of_any_size_are_read_at_a_glance_on_the_terminal(tmp_path):
    stream = io.StringIO()
    assert leaderboard(three_seeds(tmp_path), tmp_path, Console(file=stream, width=160)) == 0
    shown = stream.getvalue()
    assert "program python train.py: numbers of its own" in shown
    best = next(line for line in shown.splitlines() if "lr=0.01 " in line)
    tiny, big = 1e-7 * np.mean(LOSSES[0.01]), 123456.7 * np.mean(LOSSES[0.01])
    assert f"{tiny:.4g}" in best and f"{big:.4g}" in best and "nan" not in shown


def test_files_have_every_number_and_the_terminal_eight(tmp_path):
    many = {f"n{i}": float(i) for i in range(12)}
    folder = sweep(
        tmp_path,
        [
            own({"loss": 0.5, **many}, lr=0.1),
            own({"loss": 0.4, **many, "rare": 3e-9}, lr=0.2),
            own({"loss": 0.6}, lr=1),
        ],
    )
    (block,) = blocks_of(folder, tmp_path)
    assert block.others == [f"n{i}" for i in range(8)]
    written(folder, tmp_path)
    lines = list(csv.DictReader((folder / "leaderboard.csv").read_text().splitlines()))
    heads = list(lines[0])
    assert heads.index("loss") < heads.index("n0") and "rare" in heads and not {"recall@1", "mode"} & set(heads)
    assert [line["rare"] for line in lines] == ["3e-09", "", ""]
    assert [line["loss"] for line in lines] == ["0.400000", "0.500000", "0.600000"]
    assert lines[0]["program"] == "python train.py" and lines[0]["code"] == "of train.py"
    assert lines[0]["differs"] == "params.lr=0.2"
    table = read_parquet(folder / "leaderboard.parquet")
    assert table["rare"] == [3e-9, None, None]
    assert "| – |" in (folder / "leaderboard.md").read_text()


def test_a_number_that_is_called_like_a_column_does_not_take_its_place(tmp_path):
    folder = sweep(tmp_path, [own({"steps": 77.0, "name": 5.0}, lr=0.1)], objective="steps", direction="maximize")
    written(folder, tmp_path)
    (line,) = csv.DictReader((folder / "leaderboard.csv").read_text().splitlines())
    assert (line["steps"], line["own.steps"], line["name"], line["own.name"]) == (
        "10", "77.000000", "lr=0.1", "5.000000",
    )  # fmt: skip


class _Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.heads, self.text, self.sorts = [], [], None, []

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.text = ""
            if "aria-sort" in dict(attrs):
                self.sorts.append(dict(attrs)["aria-sort"])

    def handle_data(self, data):
        if self.text is not None:
            self.text += data

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self.text is not None:
            self.rows[-1].append(self.text.strip())
            self.text = None


def test_the_page_has_the_rows_and_the_curves_and_nothing_of_queries(tmp_path):
    folder = three_seeds(tmp_path)
    for path in sorted((tmp_path / "trials").iterdir()):
        for step in (1, 2, 3):
            row = {"kind": "evaluate", "step": step, "loss": 1 / step, "acc": step / 10, "note": "text", "bad": None}
            append_json_line(path / "metrics.jsonl", row)
    page = written(folder, tmp_path)
    cells = _Cells()
    cells.feed(page)
    table = [row for row in cells.rows if row and row[0].startswith("lr=")][:3]
    assert [row[0] for row in table] == ["lr=0.01", "lr=0.001", "lr=0.1"]
    assert cells.sorts == ["ascending"] and "Lowest loss first" in page
    assert "objective over steps" in page and "acc over steps" in page and "note over steps" not in page
    assert "Where queries are found" not in page and "<h3>Recall</h3>" not in page
    assert "What masks let through" not in page
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page)), "links lead somewhere"
    assert not re.search(r"\bnan\b", page)


def test_a_result_without_the_objective_costs_its_row_and_says_what_it_has(tmp_path):
    folder = sweep(tmp_path, [own({"loss": 0.5}, lr=0.1), own({"acc": 0.4, "f1": 0.2}, lr=0.2)])
    board = read_board(folder, tmp_path)
    assert [row.name for row in board.blocks[0].rows] == ["lr=0.1"]
    (why,) = board.refused
    assert "a result must have loss, which the sweep ranks by; found 'acc, f1'" in why


def test_an_objective_that_came_out_as_nan_is_told_by_that_name(tmp_path):
    folder = sweep(tmp_path, [own({"acc": 0.4}, not_finite=("loss",), lr=0.2)])
    board = read_board(folder, tmp_path)
    assert not board.blocks and "loss, which the sweep ranks by, must be finite" in board.refused[0]


def test_nan_in_a_file_costs_its_row(tmp_path):
    folder = sweep(tmp_path, [own({"loss": 0.5}, lr=0.1), own({"loss": 0.25}, lr=0.2)])
    path = TrialFolder.of(tmp_path, own({"loss": 0.25}, lr=0.2).trial_id).result_file
    path.write_text(path.read_text().replace("0.25", "NaN"))
    board = read_board(folder, tmp_path)
    assert len(board.results) == 1 and "NaN is no number" in board.refused[0]


def test_numbers_beyond_any_sum_are_a_row_all_the_same(tmp_path):
    made = [own({"loss": value}, seed=seed, lr=0.1) for seed, value in enumerate((1.7e308, 1.6e308, -1.7e308))]
    folder = sweep(tmp_path, [*made, own({"loss": 1e-300}, lr=0.2)])
    page = written(folder, tmp_path)
    assert "lr=0.1" in page and "lr=0.2" in page


def test_only_a_program_may_be_without_a_protocol(tmp_path):
    (tmp_path / "trials").mkdir()
    one = result(0.5)
    path = TrialFolder.of(tmp_path, one.trial_id).result_file
    write_json(path, one.model_dump(mode="json", by_alias=True) | {"protocol": None})
    found, refused = readable_results([path])
    assert not found and "without a protocol" in refused[0]
    place = TrialFolder.of(tmp_path, one.trial_id)
    assert place.computation() is None and place.objective("recall@1") == 0.5


def test_each_program_has_a_block_and_protocols_theirs(tmp_path):
    evaluated = result(0.5)
    folder = leave(tmp_path, [(evaluated, records_of(0.5, 0))])
    made = [own({"recall@1": 0.9}, lr=0.1), own({"recall@1": 0.8}, lr=0.1, program="other.py")]
    sweep(tmp_path, made, objective="recall@1", direction="maximize", name="other")
    both = [
        {"trial": one.trial_id, "name": str(place), "seed": 0} for place, one in enumerate((*made, evaluated))
    ]  # fmt: skip
    write_json(folder / "manifest.json", {"name": "mine", "objective": "recall@1", "trials": both, "fallbacks": []})
    blocks = blocks_of(folder, tmp_path)
    assert sorted(block.measured_by.partition(" ")[0] for block in blocks) == ["program", "program", "protocol"]
    page = written(folder, tmp_path)
    assert "program python other.py" in page
    lines = list(csv.DictReader((folder / "leaderboard.csv").read_text().splitlines()))
    assert len(lines) == 3 and {line["mode"] for line in lines} == {"rgb", ""}
    assert len({line["protocol"] for line in lines}) == 3


def test_a_table_for_papers_has_the_programs_numbers(tmp_path):
    folder = three_seeds(tmp_path)
    text = (written(folder, tmp_path), (folder / "leaderboard.tex").read_text())[1]
    assert "lowest first" in text and "nan" not in text and "acc" in text
    wanted = Wanted(columns=("loss", "tiny"))
    assert leaderboard(folder, tmp_path, Console(file=io.StringIO()), wanted) == 0
    head = next(line for line in (folder / "leaderboard.tex").read_text().splitlines() if "loss &" in line)
    assert "tiny" in head and "acc" not in head
    assert latex(blocks_of(folder, tmp_path), "t").count(r"\begin{table}") == 1


def test_plots_of_own_numbers_are_the_leaderboard_alone(tmp_path):
    pytest.importorskip("matplotlib")
    paths = write_plots(tmp_path / "plots", blocks_of(three_seeds(tmp_path), tmp_path))
    assert sorted(path.name for path in paths) == ["leaderboard.png", "leaderboard.svg"]


def test_parameters_are_keys_by_which_rows_differ(tmp_path):
    made = [own({"loss": 0.5}, opt={"name": "sgd", "lr": 0.1}), own({"loss": 0.6}, opt={"name": "sgd", "lr": 0.2}, k=3)]
    (block,) = blocks_of(sweep(tmp_path, made), tmp_path)
    assert differing(block.rows) == {"params.opt.lr": ["0.1", "0.2"], "params.k": [None, "3"]}


def test_tables_of_networks_stay_as_they_are_beside_programs(tmp_path):
    alone = tmp_path / "alone"
    written(four(alone), alone)
    before = (alone / "sweeps" / "mine" / "leaderboard.csv").read_text()
    beside = tmp_path / "beside"
    folder = four(beside)
    sweep(beside, [own({"loss": 0.5}, lr=0.1)], name="other")
    written(folder, beside)
    assert (folder / "leaderboard.csv").read_text() == before


def test_a_copy_of_another_trials_numbers_is_refused(tmp_path):
    one = own({"loss": 0.5}, lr=0.1)
    with pytest.raises(Exception, match="folder's trial"):
        check_result(tmp_path / "trials" / "0123" / "result.json", one, "loss")


def crossed(runs, scale=1.0):
    """Two axes, three seeds: the rate matters, the width does not, and seeds move the score a little."""
    luck = np.random.default_rng(3)
    made = [
        own({"loss": scale * (0.2 * (lr == 0.1) + luck.normal(0, 0.01))}, seed=seed, lr=lr, width=width)
        for lr in (0.1, 0.01) for width in (8, 16) for seed in (0, 1, 2)
    ]  # fmt: skip
    return made, sweep(runs, made)


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e12])
def test_importance_tells_which_parameter_matters_whatever_the_size_of_numbers(tmp_path, scale):
    made, _ = crossed(tmp_path, scale)
    rows = group_rows(made, {one.trial_id: one.trial_id[:4] + str(one.trial.params) for one in made}, "loss")
    (found,), silent = importances(rows, "loss", lambda asked: pytest.fail("no queries were asked"))
    assert not silent and found.num_trials == 12
    by_name = {each.title: each for each in found.axes}
    assert by_name["params.lr"].claim == "matters" and by_name["params.width"].claim == "not told"
    values = {one.trial.params["lr"]: [] for one in made}
    for one in made:
        values[one.trial.params["lr"]].append(one.metrics["loss"])
    half = (np.mean(values[0.1]) - np.mean(values[0.01])) / 2
    adds = {value.value: value.adds for value in by_name["params.lr"].values}
    assert adds["0.1"].value == pytest.approx(half) and adds["0.01"].value == pytest.approx(-half)
    assert adds["0.1"].low < half < adds["0.1"].high
    assert by_name["params.lr"].share.value > 0.9
    shown = " ".join(
        [*importance_tables.reading(found), *(cell for line in importance_tables.lines(found) for cell in line)]
    )
    assert "queries" not in shown and "nan" not in shown


def test_importance_of_a_mixed_run_folder_speaks_of_what_has_the_number(tmp_path, capsys):
    crossed(tmp_path)
    leave(tmp_path, [(result(0.5), records_of(0.5, 0)), (result(0.7, unfreeze="all"), records_of(0.7, 1))], name="nets")
    assert main(["importance", "--runs", str(tmp_path), "--objective", "loss"]) == 0
    told = capsys.readouterr().out
    assert "params.lr" in told and "nothing that vprdist evaluates is called loss" in told
    assert main(["importance", "--runs", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "network.unfreeze" in told and "its results have no recall@1" in told
    assert main(["importance", "--runs", str(tmp_path), "--objective", "lost"]) == 2
    assert "no result has a number of that name" in "".join(capsys.readouterr())
