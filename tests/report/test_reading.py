"""What is said beside the numbers: one seed, a best row chosen by the same data, training that did harm."""

from __future__ import annotations

import csv
import io
import math
from statistics import variance

import pyarrow.parquet
import pytest
from rich.console import Console

from tests.report.making import KEYS, judged, leave, records_of, result, rows_of, written
from vprdist.report import seeds
from vprdist.report.board import read_board
from vprdist.report.evidence import weigh
from vprdist.report.latex import latex
from vprdist.report.leaderboard import markdown, show, write_leaderboard
from vprdist.report.publish import leaderboard
from vprdist.report.rows import group_rows
from vprdist.report.seeds import spread_elsewhere

NO_CLAIM = "So no p and no groups are told, which would speak of settings: train several seeds a row."


def terminal(blocks, width=200) -> str:
    out = io.StringIO()
    show(blocks, "t", Console(file=out, width=width))
    return out.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


def pair(seeds: int):
    files = [(result(0.5, seed=s), records_of(0.5, s, noise=0.3)) for s in range(seeds)]
    return files + [(result(0.7, seed=s, unfreeze="all"), records_of(0.7, 9 + s, noise=0.3)) for s in range(seeds)]


@pytest.mark.parametrize("chosen", [True, False])
def test_one_seed_gives_a_difference_of_these_networks_and_neither_p_nor_groups(tmp_path, chosen):
    files = pair(1)
    against = None if chosen else {one.trial_id: files[0][0].trial_id for one, _ in files}
    (block,) = judged(tmp_path, files, against)
    (found,) = [s.difference for s in block.standings if s.difference]
    assert found.interval is not None and not found.interval[0] <= 0 <= found.interval[1], "or there is no temptation"
    assert (found.p, found.p_holm, found.p_all_pairs) == (None, None, None)
    assert [s.group for s in block.standings] == [None, None]
    texts = {"md": markdown([block], "t"), "tex": latex([block], "t"), "80": terminal([block], 80)}
    for text in texts.values():
        assert NO_CLAIM.split(":")[0] in words(text) and "these networks" in words(text)
        assert not any(word in words(text) for word in ("Holm", "told apart", "$p$", "| p |", "group:", "all pairs as"))
    assert "| name | R@1 [95 %] | to baseline, these networks [95 %] | R@5 |" in texts["md"]
    heads = texts["80"].split("┡")[0]
    assert "these networks" in heads and " p " not in heads and "group" not in heads
    paths = write_leaderboard(tmp_path, [block], "t")
    for line in csv.DictReader(paths[0].open()):
        assert line["holds_for"] == "these networks"
        assert {line[name] for name in ("group", "p", "p_holm", "p_all_pairs")} == {""}
    assert pyarrow.parquet.read_table(paths[2]).to_pylist()[1]["p_holm"] is None


def test_networks_that_nobody_trains_have_no_luck_of_seeds(tmp_path):
    elsewhere = [(result(0.5 + v, seed=s), None) for s, v in enumerate((0.0, 0.1, 0.05))]
    leave(tmp_path, elsewhere, name="elsewhere")

    def fixed(one, trained=0):
        train = one.trial.train.model_copy(update={"steps": trained})
        trial = one.trial.model_copy(update={"train": train})
        return one.model_copy(update={"trial": trial, "trial_id": trial.trial_id, "steps": trained})

    def said(name, steps):
        files = [(fixed(one, each), records) for (one, records), each in zip(pair(1), steps, strict=True)]
        board, out = read_board(leave(tmp_path, files, name=name), tmp_path), io.StringIO()
        leaderboard(board.folder, tmp_path, Console(file=out, width=200))
        return words(markdown(board.blocks, "t")), words(out.getvalue())

    for text in said("fixed", (0, 0)):
        assert "Nothing was trained: intervals and differences are of these very networks" in text
        assert "may be luck" not in text and "One seed a row" not in text and "seeds=[0,1,2]" not in text
    text, shown = said("mixed", (0, 3))
    assert "One seed a row" in text and "may be luck" in text and "seeds=[0,1,2]" in shown


def test_two_seeds_of_one_row_are_enough_to_know_of_luck(tmp_path):
    (block,) = judged(tmp_path, [*pair(1), (result(0.5, seed=1), records_of(0.5, 77, noise=0.3))])
    assert block.knows_seeds and [s.group for s in block.standings] != [None, None]
    text = markdown([block], "t")
    assert "| group |" in text and "| p |" in text and "One seed a row" not in text
    assert {line["holds_for"] for line in csv.DictReader(write_leaderboard(tmp_path, [block], "t")[0].open())} == {
        "settings"
    }


def test_a_best_row_is_said_to_be_chosen_by_the_same_queries(tmp_path):
    (block,) = judged(tmp_path, pair(2))
    for text in (markdown([block], "t"), latex([block], "t"), terminal([block], 80)):
        assert "The baseline is the best row compared, chosen by the same queries" in words(text)
        assert "p is how often chance makes a largest difference of all pairs as large" in words(text)
        assert "Holm" not in text
    (line,) = [each for each in csv.DictReader(write_leaderboard(tmp_path, [block], "t")[0].open()) if each["baseline"]]
    assert (line["p"], line["p_holm"]) == ("", "") and 0 < float(line["p_all_pairs"]) <= 1


def test_protocols_whose_best_rows_were_chosen_are_paid_for_together(tmp_path):
    (one,) = judged(tmp_path / "one", pair(2))
    (alone,) = [s.difference.p_all_pairs for s in one.standings if s.difference]
    other = [(result(0.5, seed=s, num_queries=200, unfreeze="0-4"), records_of(0.5, 20 + s)) for s in (0, 1)]
    other += [(result(0.6, seed=s, num_queries=200, unfreeze="2-2"), records_of(0.6, 30 + s)) for s in (0, 1)]
    blocks = judged(tmp_path / "two", [*pair(2), *other])
    found = [s.difference.p_all_pairs for block in blocks for s in block.standings if s.difference]
    assert len(found) == 2 and min(1.0, 2 * alone) in found


def test_seeds_of_other_sweeps_bound_what_luck_does(tmp_path, monkeypatch):
    scores = {"rgb": [0.50, 0.56, 0.52], "masked": [0.40, 0.46]}
    other = [(result(v, mode=mode, seed=s), None) for mode, values in scores.items() for s, v in enumerate(values)]
    other.append((result(0.9, seed=0, mode="rgb+mask"), None))
    leave(tmp_path, other, name="earlier")
    leave(tmp_path, other, name="again")  # the same trials count once
    elsewhere = [(result(v, subtask="s2w", seed=s, unfreeze="2-2"), None) for s, v in enumerate((0.1, 0.9))]
    leave(tmp_path, elsewhere, name="elsewhere")
    (tmp_path / "sweeps" / "broken").mkdir()
    (tmp_path / "sweeps" / "broken" / "manifest.json").write_text("{")
    unknown = [(result(0.3, mode="masked", seed=s, subtask="d2n", unfreeze="0-4"), None) for s in range(3)]
    leave(tmp_path, unknown, name="aaa")
    monkeypatch.setattr(seeds, "MOST_RESULTS", 5)  # results of other protocols use none of it up
    one_seed = [(result(0.7, unfreeze="all"), records_of(0.7, 9)), (result(0.6, unfreeze="4-0"), records_of(0.6, 3))]
    folder = leave(tmp_path, one_seed, name="mine")
    sd = ((2 * variance(scores["rgb"]) + variance(scores["masked"])) / 3) ** 0.5
    found = spread_elsewhere(tmp_path, result(0.5).protocol, "recall@1")
    assert (found.sd, found.freedom, found.num_rows) == (pytest.approx(sd), 3, 2)
    assert len(found.sweeps) == 1 and found.sweeps[0] in ("earlier", "again")
    assert spread_elsewhere(tmp_path, result(0.5, num_queries=7).protocol, "recall@1") is None
    (block,) = read_board(folder, tmp_path).blocks
    bound = block.elsewhere[1]
    (difference,) = [s.difference for s in block.standings if s.difference]
    low, high = difference.interval
    assert bound > 1.96 * math.sqrt(2) * sd and bound > (high - low) / 2, "seeds and queries together"
    said = f"{sd:.3f} (rows: 2; {found.sweeps[0]}): a difference below {bound:.3f} may be luck."
    html = written(folder, tmp_path)
    for text in (markdown([block], "t"), terminal([block], 80), latex([block], "t"), html):
        assert said in words(text)


def test_training_that_made_a_network_worse_is_said_everywhere(tmp_path):
    before = {"untrained": dict.fromkeys(KEYS, 0.243)}
    after = [(result(0.197, **before), None), (result(0.3, unfreeze="all", **before), None)]
    after += [(result(0.243, unfreeze="2-2", **before), None), (result(0.1, mode="masked", untrained=None), None)]
    folder = leave(tmp_path, after)
    board = read_board(folder, tmp_path)
    line = "trained below untrained (R@1): rgb 0-2 0.197 after, 0.243 before."
    for width in (80, 200):
        text = terminal(board.blocks, width)
        assert f"↓ {line}" in words(text) and "↓ 0.197 [" in text and text.count("↓") == 2
    text = markdown(board.blocks, "t")
    assert f"↓ {line}" in text and "| rgb 0-2 | ↓ 0.197 [" in text and text.count("↓") == 2
    text = latex(board.blocks, "t")
    assert rf"$\downarrow$ {line}" in text and r"rgb 0-2 & $\downarrow$ 0.197 & [" in text
    html = written(folder, tmp_path)
    assert f"↓ {line}" in html and "↓ 0.197 [" in html
    found = {r["name"]: r for r in csv.DictReader((folder / "leaderboard.csv").open())}
    assert {name: r["trained_below_untrained"] for name, r in found.items()} == {
        "rgb 0-2": "yes", "rgb all": "no", "rgb 2-2": "no", "masked 0-2": "",
    }  # fmt: skip
    assert found["rgb 0-2"]["untrained"] == "0.243000" and found["masked 0-2"]["untrained"] == ""


def test_many_rows_made_worse_are_counted_and_the_objective_is_what_counts(tmp_path):
    before = {key: 0.9 if key == "map@5" else 0.01 for key in KEYS}
    results = [result(0.2, margin=0.5 + i / 10, untrained=before) for i in range(5)]
    names = {one.trial_id: f"row {i}" for i, one in enumerate(results)}
    blocks = weigh(group_rows(results, names, "map@5"), "map@5", lambda trial: None, None)
    assert "↓ trained below untrained (mAP@5): row 0 0.200 after, 0.900 before; " in markdown(blocks, "t")
    assert "; 2 more rows." in markdown(blocks, "t")
    blocks = weigh(rows_of(*results), "recall@1", lambda trial: None, None)
    assert "↓" not in markdown(blocks, "t")
