"""From per-query files on disk to intervals, differences, groups and breakdowns; and what cannot be compared."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from tests.report.making import QUERIES, consistent, judged, record, records_of, result, rows_of, write_queries
from vprdist.console import Console
from vprdist.errors import UserError
from vprdist.report.comparisons import all_pairs, holm, p_values
from vprdist.report.evidence import weigh
from vprdist.report.latex import latex
from vprdist.report.leaderboard import markdown, show, write_leaderboard
from vprdist.report.statistics import Panel, chance
from vprdist.store.clusters import clusters
from vprdist.store.queries import queries_path, read_answers, read_queries


def three(tmp_path, **more):
    files = [(result(0.5 + s / 100, seed=s), records_of(0.5, s)) for s in (0, 1)]
    files += [(result(0.7 + s / 100, seed=s, mode="masked"), records_of(0.72, 10 + s)) for s in (0, 1)]
    files += [(result(0.68, unfreeze="all"), records_of(0.70, 20))]
    return files, judged(tmp_path, files, **more)


def test_numbers_are_those_of_the_statistics_on_the_files_own_values(tmp_path):
    files, (block,) = three(tmp_path)
    top, second, last = block.standings
    assert [s.row.name for s in block.standings] == ["masked 0-2", "rgb all", "rgb 0-2"]
    by_key = {}
    for one, records in files:
        kept = sorted((r for r in records if r["subtask"] == "all"), key=lambda r: (r["city"], r["query"]))
        by_key.setdefault(rows_name(one), []).append([r["recall@1"] for r in kept])
        codes = clusters(
            [r["city"] for r in kept], [r["sequence_key"] for r in kept], [r["frame_number"] for r in kept]
        )
    panel = Panel(tuple(np.array(by_key[s.row.name]) for s in block.standings), codes)
    found, pairs = chance(panel), all_pairs(panel)
    assert block.num_clusters == panel.num_clusters == 24
    assert top.intervals["recall@1"] == pytest.approx(found.interval(0))
    assert last.difference.interval == pytest.approx(found.difference(2, 0, pairs.half(2, 0)))
    assert last.difference.baseline == "masked 0-2" and top.difference is None
    assert [second.difference.corrected, last.difference.corrected] == [pairs.p(1, 0), pairs.p(2, 0)]
    assert second.difference.p is last.difference.p_holm is None, "the best row was chosen by the same queries"
    named = {one.trial_id: files[0][0].trial_id for one, _ in files}
    (block,) = judged(tmp_path, files, named)
    first, second, _ = block.standings
    raw = p_values(panel, [(0, 2), (1, 2)])
    assert [first.difference.p, second.difference.p] == raw and first.difference.p_all_pairs is None
    assert [first.difference.p_holm, second.difference.p_holm] == holm(raw)
    assert first.difference.interval == pytest.approx(found.difference(0, 2))
    assert [s.group for s in block.standings] == [1, 1, 2]
    assert block.seed_sd == found.luck.sd


def rows_name(one):
    return f"{one.trial.input.mode} {one.trial.network.unfreeze_name}"


def test_breakdowns_count_their_queries_and_average_to_the_whole(tmp_path):
    _, (block,) = three(tmp_path)
    parts = {(p.kind, p.name): p for p in block.standings[0].parts}
    assert list(parts) == [
        ("city", "a"), ("city", "b"), ("subtask", "s2w"), ("view direction", "Forward"), ("view direction", "Left"),
    ]  # fmt: skip
    cities = [p for (kind, _), p in parts.items() if kind == "city"]
    assert sum(p.num_queries for p in cities) == QUERIES
    assert parts["subtask", "s2w"].num_queries == QUERIES // 4
    whole = sum(p.num_queries * p.metrics["recall@1"] for p in cities) / QUERIES
    directions = [p for (kind, _), p in parts.items() if kind == "view direction"]
    assert sum(p.num_queries * p.metrics["recall@1"] for p in directions) / QUERIES == pytest.approx(whole)
    for part in parts.values():
        low, high = part.intervals["recall@1"]
        assert low <= part.metrics["recall@1"] <= high


def test_the_order_of_a_file_does_not_matter(tmp_path):
    luck = np.random.default_rng(1)
    _, (one,) = three(tmp_path / "one")
    files, _ = three(tmp_path / "two")
    mixed = [(r, [records[i] for i in luck.permutation(len(records))]) for r, records in files]
    (two,) = judged(tmp_path / "two", mixed)
    assert one == two


def test_each_row_has_its_own_baseline_where_the_sweep_says_so(tmp_path):
    files = [
        (result(0.5, mode=mode, unfreeze=units), records_of(0.5, i))
        for i, (mode, units) in enumerate((m, u) for m in ("rgb", "masked") for u in ("0-2", "all"))
    ]
    ids = {rows_name(one): one.trial_id for one, _ in files}
    against = {ids[f"{m} {u}"]: ids[f"rgb {u}"] for m in ("rgb", "masked") for u in ("0-2", "all")}
    (block,) = judged(tmp_path, files, against)
    found = {s.row.name: s.difference and s.difference.baseline for s in block.standings}
    assert found == {"rgb 0-2": None, "rgb all": None, "masked 0-2": "rgb 0-2", "masked all": "rgb all"}
    assert "the row's own baseline" in markdown([block], "t")
    paths = write_leaderboard(tmp_path, [block], "t")
    told = {r["name"]: r["baseline"] for r in csv.DictReader(paths[0].open())}
    assert told["masked all"] == "rgb all"


def test_rows_without_files_or_of_other_queries_are_named_and_not_compared(tmp_path):
    files = [
        (result(0.9, unfreeze="2-2"), None),
        (result(0.5), records_of(0.5, 0)),
        (result(0.4, mode="masked"), records_of(0.4, 1)[:-8]),
    ]
    (block,) = judged(tmp_path, files)
    assert [s.paired for s in block.standings] == [False, True, False]
    assert block.standings[0].intervals["recall@1"][1] < 1 and block.standings[0].group is None
    text = markdown([block], "t")
    assert "no per-query results: rgb 2-2." in text and "best row's were asked: masked 0-2." in text


def test_a_row_whose_queries_do_not_average_to_its_result_is_not_compared(tmp_path):
    good, bad = result(0.5), result(0.4, mode="masked")
    (block,) = judged(tmp_path, [(good, records_of(0.5, 0)), (bad, records_of(0.4, 1))])
    assert all(standing.paired for standing in block.standings)
    write_queries(tmp_path / bad.trial_id, records_of(0.6, 1))
    rows = rows_of(consistent(good, records_of(0.5, 0)), consistent(bad, records_of(0.4, 1)))
    (block,) = weigh(rows, "recall@1", lambda trial: read_queries(queries_path(tmp_path / trial)), None)
    assert [standing.paired for standing in block.standings] == [True, False]
    assert "do not average to its result: masked 0-2." in markdown([block], "t")


def test_a_row_lacking_one_seeds_file_is_not_compared(tmp_path):
    (block,) = judged(tmp_path, [(result(0.5), records_of(0.5, 0)), (result(0.5, seed=1), None)])
    assert not block.standings[0].paired


def test_one_cluster_of_queries_shows_a_difference_and_a_dash(tmp_path):
    hits = [[record(f"q{i}", [i < found], frame=i) for i in range(8)] for found in (2, 6)]
    files = [(result(0.25, seed=s), hits[0]) for s in (0, 1)]
    files += [(result(0.75, unfreeze="all", seed=s), hits[1]) for s in (0, 1)]
    blocks = judged(tmp_path, files)
    found = blocks[0].standings[1].difference
    assert (found.interval, found.p, found.corrected) == (None, None, None)
    assert "| -0.500 [–] | – |" in markdown(blocks, "t") and "n 8, 1 cluster)" in markdown(blocks, "t")
    assert "& $-0.500$ & -- & -- &" in latex(blocks, "t")
    (_, last) = csv.DictReader(write_leaderboard(tmp_path, blocks, "t")[0].open())
    assert (last["difference"], last["difference_low"], last["p"]) == ("-0.500000", "", "")


def test_p_is_corrected_over_all_protocols_of_the_sweep(tmp_path):
    files = [
        (result(0.5, mode=mode, num_queries=count), records_of(share, seed))
        for seed, (mode, count, share) in enumerate(
            [("rgb", 100, 0.5), ("masked", 100, 0.6), ("rgb", 200, 0.5), ("rgb+mask", 200, 0.55)]
        )
    ]
    files[2] = (result(0.5, num_queries=200, unfreeze="all"), files[2][1])
    files += [
        (result(0.5, **more, seed=1), records_of(0.5, 7 + place))
        for place, more in enumerate(({}, {"num_queries": 200, "unfreeze": "all"}))
    ]
    ids = [one.trial_id for one, _ in files]
    against = dict(zip(ids, (ids[0], ids[0], ids[2], ids[2], ids[4], ids[5]), strict=True))
    blocks = judged(tmp_path, files, against)
    found = [s.difference for block in blocks for s in block.standings if s.difference]
    assert len(blocks) == len(found) == 2
    assert [each.p_holm for each in found] == holm([each.p for each in found])
    assert min(each.p_holm for each in found) == pytest.approx(2 * min(each.p for each in found))


def test_files_and_terminal_show_the_evidence(tmp_path):
    _, blocks = three(tmp_path)
    paths = write_leaderboard(tmp_path, blocks, "t")
    assert paths[-1].name == "breakdown.csv"
    lines = list(csv.DictReader(paths[-1].open()))
    assert len(lines) == 3 * 5 and {line["kind"] for line in lines} == {"city", "subtask", "view direction"}
    board = list(csv.DictReader(paths[0].open()))
    assert board[2]["baseline"] == "masked 0-2" and float(board[2]["difference_high"]) < 0
    out = io.StringIO()
    show(blocks, "t", Console(file=out, width=200), parts=True)
    for text in (
        "group",
        "to baseline",
        "24 clusters",
        "What seeds change",
        "city a",
        "(n 120, 12 clusters)",
        "largest difference of all pairs",
    ):
        assert text in out.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows + rows[:1], "a query stands twice in a subtask: 'all a q0'"),
        (
            lambda rows: [*rows[1:], rows[0] | {"city": None}],
            "a query has no city. ",
        ),
        (lambda rows: [*rows[1:], rows[0] | {"frame_number": None}], "a query has no frame_number"),
        (None, "per-query results must be readable"),
    ],
)
def test_bad_files_are_one_message(tmp_path, change, message):
    path = write_queries(tmp_path, change(records_of(0.5, 0)) if change else records_of(0.5, 0))
    if change is None:
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=message):
        read_queries(path)


def test_a_missing_column_is_named(tmp_path):
    from vprdist.parquet import write_parquet

    path = queries_path(tmp_path)
    write_parquet(path, [{"subtask": "all"}], ["subtask"])
    with pytest.raises(UserError, match="no such column: 'city'"):
        read_queries(path)
    assert read_queries(tmp_path / "nothing") is None


def test_answers_of_some_queries(tmp_path):
    path = write_queries(tmp_path, [record("q", [True], retrieved=["x"]), record("q", [False], subtask="s2w")])
    assert read_answers(path, [("b", "q")], "all") == {
        ("b", "q"): {"retrieved": ["x"], "hits": [True], "positives": ["right"]}
    }
