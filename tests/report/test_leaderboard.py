"""Rows over seeds, their order, and the files that are written."""

from __future__ import annotations

import csv
import io
import json
import re
from statistics import mean, stdev

import pyarrow.parquet
import pytest

from tests.report.making import KEYS, leave, of_the_paper, records_of, result, rows_of
from vprdist.console import Console
from vprdist.errors import UserError
from vprdist.files import write_json
from vprdist.report.board import read_board
from vprdist.report.board_page import page_path
from vprdist.report.evidence import weigh
from vprdist.report.leaderboard import (
    PUBLISHED_HEADERS,
    difference_text,
    markdown,
    p_text,
    part_score,
    show,
    write_leaderboard,
)
from vprdist.report.publish import Wanted, leaderboard
from vprdist.report.published import NOTES, TABLE_I, is_papers, published_name, published_rows
from vprdist.spec.doors import BackboneName
from vprdist.spec.input import InputSpec
from vprdist.spec.result import VariantResult
from vprdist.spec.row_name import row_name
from vprdist.spec.trial import TrialSpec
from vprdist.store.result_file import read_result
from vprdist.store.trial_folder import results_in


def blocks_of(*results, objective="recall@1"):
    return weigh(rows_of(*results, objective=objective), objective, lambda trial: None, None)


def test_a_row_is_a_configuration_over_its_seeds():
    values = [0.5, 0.6, 0.9]
    (row,) = rows_of(*(result(v, seed=s) for s, v in enumerate(values)))
    assert row.seeds == (0, 1, 2)
    assert row.metric("recall@1") == pytest.approx(mean(values))
    assert row.seed_spread("recall@1") == pytest.approx(stdev(values))
    assert row.untrained("recall@1") == pytest.approx(0.1)


def test_best_first_and_ties_by_name():
    rows = rows_of(result(0.2), result(0.7, unfreeze="2-2"), result(0.7, unfreeze="0-4"), result(0.4, mode="masked"))
    assert [row.name for row in rows] == ["rgb 0-4", "rgb 2-2", "masked 0-2", "rgb 0-2"]


def test_protocols_are_never_ranked_together():
    blocks = blocks_of(result(0.2), result(0.9, subtask="d2n"), result(0.5, unfreeze="all"))
    assert sorted(len(block.standings) for block in blocks) == [1, 2], "rows of one protocol stand together"
    assert len({block.protocol.fingerprint for block in blocks}) == 2
    text = markdown(blocks, "t")
    assert text.count("\nprotocol ") == 2


def test_variants_are_rows_under_their_own_protocol_and_not_the_papers():
    plain = result(0.4)
    whitened = plain.protocol.model_copy(update={"whitening": "database", "dimensions": 64})
    variant = VariantResult(protocol=whitened, metrics=dict.fromkeys(KEYS, 0.9), city_metrics={})
    rows = rows_of(plain.model_copy(update={"variants": (variant,)}), result(0.5, unfreeze="2-2"))
    found = {(row.protocol.fingerprint, row.name): row for row in rows}
    assert len(found) == 3
    assert found[plain.protocol.fingerprint, "rgb 0-2"].metric("recall@1") == 0.4
    row = found[whitened.fingerprint, "rgb 0-2"]
    assert row.is_variant and row.metric("recall@1") == 0.9 and row.untrained("recall@1") is None
    assert published_name(row) is None and published_name(rows[0 if rows[0] is not row else 1]) is not None


def test_names_leave_out_what_the_mode_ignores():
    trials = [result(0.1, mode=m, reduce=r).trial for m, r in (("rgb", "mean"), ("masked", "mean"), ("masked", "sum"))]
    assert [row_name(t, ["input.mode", "input.mask_reduce"]) for t in trials] == ["rgb", "masked mean", "masked sum"]
    assert row_name(trials[1], ["input.classes"]) == "static"


def test_a_form_has_one_word_in_a_row_name_whichever_keys_are_axes():
    given = [{}, {"mask_fill": "mean"}, {"mask_at": "features", "mask_fill": "mean"}]
    inputs = [InputSpec(mode="rgb"), *(InputSpec(mode="masked", **each) for each in given)]
    trials = [TrialSpec(input=each.resolved()) for each in inputs]
    both, keys = ["input.mode", "input.mask_at", "input.mask_fill"], ["input.mask_at", "input.mask_fill"]
    names = [row_name(trial, both) for trial in trials]
    assert names == ["rgb", "masked black", "masked mean colour", "masked features"]
    assert [row_name(trial, keys[:1]) for trial in trials] == ["", "black", "mean colour", "features"]
    assert [row_name(trial, keys[1:]) for trial in trials[:3]] == ["", "black", "mean colour"]


def test_masks_of_a_search_of_subsets_are_named_by_its_players():
    players = {"built": ("building", "wall"), "thin": ("pole",), "green": ("vegetation",)}
    own = {"classes": ("building", "wall", "pole", "vegetation")}
    named = {
        "everybody": own["classes"], "all but thin": ("building", "wall", "vegetation"), "thin": ("pole",),
        "building+pole": ("building", "pole"),
    }  # fmt: skip
    for name, classes in named.items():
        trial = result(0.1, mode="masked").trial
        shown = trial.input.model_copy(update={"classes": classes})
        assert row_name(trial.model_copy(update={"input": shown}), ["input.classes"], players) == name


def test_the_files(tmp_path):
    blocks = blocks_of(
        result(0.2, fallbacks=("no | GPU",)), result(0.3, mode="masked"), result(0.5, mode="masked", seed=1)
    )
    paths = write_leaderboard(tmp_path, blocks, "mine")
    assert [p.name for p in paths] == ["leaderboard.csv", "leaderboard.md", "leaderboard.parquet"]
    records = list(csv.DictReader(paths[0].open()))
    assert [r["name"] for r in records] == ["masked 0-2", "rgb 0-2"]
    needed = {"name", "trial", "mode", "classes", "unfreeze", "seeds", "protocol", "wall_s", *KEYS}
    assert needed <= set(records[0])
    assert float(records[0]["recall@1"]) == pytest.approx(0.4)
    assert (records[0]["classes"], records[1]["classes"]) == ("static", "")
    assert len(records[0]["trial"].split()) == 2
    table = pyarrow.parquet.read_table(paths[2]).to_pylist()
    assert table[0]["map@20"] == pytest.approx(0.4)
    assert table[1]["fallbacks"] == "no | GPU"
    assert "| masked 0-2 | 0.400 [0.309, 0.498] | - |" in paths[1].read_text()
    assert records[0]["interval"] == "Wilson"


def test_published_values_stand_beside_the_rows_they_belong_to():
    blocks = blocks_of(
        result(0.2, unfreeze="all"),
        result(0.3, mode="masked"),
        result(0.4, mode="masked", reduce="sum"),
        result(0.1, mode="rgb+mask"),
    )
    rows = [standing.row for standing in blocks[0].standings]
    names = {(row.trial.input.mode, row.trial.input.mask_reduce): published_name(row) for row in rows}
    assert names == {
        ("rgb", None): "Normal All",
        ("masked", "mean"): "Masked-0-2",
        ("masked", "sum"): None,
        ("rgb+mask", "mean"): None,
    }
    out = io.StringIO()
    show(blocks, "t", Console(file=out, width=160), published=True)
    assert "0.611 (0.200)" in out.getvalue()
    assert "misprint" in out.getvalue()
    assert len(TABLE_I) == 8


def test_published_values_are_shown_where_data_and_backbone_are_the_papers_or_asked_for(tmp_path):
    """A city of one's own, lip6 or the demo city, has rows called rgb 0-2 too."""
    own, papers = result(0.2), of_the_paper(result(0.2))
    small = papers.trial.network.model_copy(update={"backbone": BackboneName.of("resnet18")})
    data = papers.trial.data
    demo, fewer = data.model_copy(update={"root": "demo"}), data.model_copy(update={"train": data.train[1:]})
    others = [
        own, papers.model_copy(update={"trial": papers.trial.model_copy(update={"network": small})}),
        *(papers.model_copy(update={"trial": papers.trial.model_copy(update={"data": d})}) for d in (demo, fewer)),
        of_the_paper(result(0.2, subtask="d2n")),
    ]  # fmt: skip
    assert [is_papers(rows_of(one)[0]) for one in (papers, *others)] == [True] + [False] * len(others)
    for number, (one, asked, shown) in enumerate([(own, False, False), (own, True, True), (papers, False, True)]):
        folder, out = leave(tmp_path / str(number), [(one, None)]), io.StringIO()
        console = Console(file=out, width=200)
        assert leaderboard(folder, tmp_path / str(number), console, Wanted(published=asked)) == 0
        texts = [out.getvalue(), (folder / "leaderboard.md").read_text(), page_path(folder).read_text()]
        for text in texts:
            assert ("0.604" in text, "Holder et al." in text) == (shown, shown)
        assert ("<details id=published1" in texts[2].replace('"', "")) == shown, "closed until somebody opens it"


@pytest.mark.parametrize("width", [80, 120, 200])
def test_published_values_are_never_taller_than_the_own_board(width):
    results = [result(0.3, mode=m, unfreeze=u) for m in ("rgb", "masked") for u in ("0-2", "2-2", "0-4", "all")]
    blocks, out = blocks_of(*results), io.StringIO()
    show(blocks, "t", Console(file=out, width=width), published=True)
    own, published = out.getvalue().split("the paper's Table I")
    assert published.count("Masked") == 4 and "0.604 (0.300)" in published
    assert len(published.split(NOTES[0][:20])[0].splitlines()) <= len(own.splitlines())


@pytest.mark.parametrize(
    ("objective", "shown"),
    [
        ("recall@1", "R@1 R@5 R@10 R@20 mAP@5 mAP@10 mAP@20"),
        ("map@1", "mAP@1 R@5 R@10 R@20 mAP@5 mAP@10 mAP@20"),
        ("map@5", "mAP@5 R@1 R@5 R@10 R@20 mAP@10 mAP@20"),
    ],
)
def test_map_at_1_is_recall_at_1_and_takes_no_column(tmp_path, objective, shown):
    """The CSV keeps it: a program finds its column there."""
    folder = leave(tmp_path, [(of_the_paper(result(0.2)), None)])
    manifest = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", manifest | {"objective": objective})
    assert leaderboard(folder, tmp_path, Console(file=io.StringIO(), width=250)) == 0
    metric = re.compile(r"\b(?:R|mAP)@\d+(?!\d| untrained)")
    first = {
        "md": (folder / "leaderboard.md").read_text().split("\n| ")[1].splitlines()[0],
        "html": "\n".join(re.findall(">([^<]+)</button>", page_path(folder).read_text())),
    }
    for kind, head in first.items():
        assert [*dict.fromkeys(metric.findall(head))] == shown.split(), kind
    head = (folder / "leaderboard.tex").read_text().split("toprule\n")[1].splitlines()[0]
    assert set(metric.findall(head)) < set(shown.split())
    names = (folder / "leaderboard.csv").read_text().splitlines()[0].split(",")
    assert {"map@1", "map@1_low", "map@1_high"} <= set(names)
    assert "mAP@1" not in PUBLISHED_HEADERS


def test_the_papers_rows_stand_with_those_of_one_protocol():
    blocks = blocks_of(result(0.2), result(0.3, mode="masked", subtask="d2n"))
    found = [published_rows(block, asked=True) for block in blocks]
    assert sorted(row[1] for rows in found for row in rows) == ["Masked-0-2", "Normal-0-2"]
    assert [len(rows) for rows in found] == [1, 1]
    out = io.StringIO()
    show(blocks, "t", Console(file=out, width=200), published=True)
    for text in (markdown(blocks, "t", published=True), out.getvalue()):
        assert text.lower().count("the paper's table i, ours in brackets") == 2
        assert " ".join(text.split()).count(NOTES[0]) == 1


def test_a_placebo_is_not_the_papers_and_another_backbone_is_named():
    masked = result(0.3, mode="masked")
    inputs = masked.trial.input.model_copy(update={"placebo": "random"})
    placebo = masked.model_copy(update={"trial": masked.trial.model_copy(update={"input": inputs})})
    assert published_name(rows_of(placebo)[0]) is None
    network = masked.trial.network.model_copy(update={"backbone": BackboneName.of("resnet18")})
    other = masked.model_copy(update={"trial": masked.trial.model_copy(update={"network": network})})
    (block,) = blocks_of(other)
    assert [row[1] for row in published_rows(block, asked=True)] == ["Masked-0-2 (another backbone)"]


def test_protocols_of_variants_alone_come_last_with_a_note_of_their_own():
    for metric in range(4):  # whatever way the fingerprints fall
        plain = result(0.4, num_queries=100 + metric)
        whitened = plain.protocol.model_copy(update={"whitening": "database", "dimensions": 64})
        variant = VariantResult(protocol=whitened, metrics=dict.fromkeys(KEYS, 0.9), city_metrics={})
        first, last = blocks_of(plain.model_copy(update={"variants": (variant,)}))
        assert (first.protocol, last.protocol) == (plain.protocol, whitened)
        assert "no per-query results" in first.notes[0] and len(first.notes) == 1
        assert len(last.notes) == 1 and "another evaluation of the same descriptors" in last.notes[0]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_terminal_table_keeps_names_and_the_objective_whole(width):
    out = io.StringIO()
    blocks = blocks_of(result(0.2), result(0.312, mode="masked"))
    show(blocks, "t", Console(file=out, width=width), published=True)
    for text in ("masked 0-2", "0.312", "R@1", "Masked-0-2", "0.526 (0.312)"):
        assert text in out.getvalue()
    assert "…" not in out.getvalue()


@pytest.mark.parametrize("width", [80, 120, 150])
def test_long_names_take_no_room_from_numbers(tmp_path, width):
    """Rows of searches over subsets have long names; the differences and p-values are what they are read for."""
    rows = [(result(0.5, seed=s), records_of(0.5, s)) for s in (0, 1)]
    rows += [(result(0.7, unfreeze="all", seed=s), records_of(0.7, 2 + s)) for s in (0, 1)]
    names = ["one network masked everybody"] * 2 + ["masked building+traffic sign+vegetation 0-2"] * 2
    folder = leave(tmp_path, rows, names=names)
    board, out = read_board(folder, tmp_path), io.StringIO()
    show(board.blocks, board.title, Console(file=out, width=width), parts=True)
    said, (block,) = out.getvalue(), board.blocks
    best, other = block.standings
    assert "…" not in said and max(map(len, said.splitlines())) <= width
    for text in (difference_text(other.difference), p_text(other.difference.corrected), "(n 120, 12 clusters)"):
        assert text in said
    for standing in (best, other):
        for part in standing.parts:
            assert part_score(part, block.objective) in said


def test_a_result_of_another_version_or_a_cut_one_is_refused(tmp_path):
    path = tmp_path / "result.json"
    text = result(0.5).model_dump_json(by_alias=True)
    path.write_text(text)
    assert read_result(path).metrics["recall@1"] == 0.5
    path.write_text(text.replace('"version":1', '"version":99'))
    with pytest.raises(UserError, match="a result must have version 1; found 99"):
        read_result(path)
    path.write_text(text[:100])
    with pytest.raises(UserError, match="a result must be readable"):
        read_result(path)


def ending(tmp_path, runs, **more):
    console = Console(file=io.StringIO(), width=200)
    assert leaderboard(leave(runs, [(result(0.5, seed=seed, **more), None) for seed in (0, 1)]), runs, console) == 0
    return console.file.getvalue()


def test_the_end_names_one_folder_and_one_next_command(tmp_path):
    runs = tmp_path / "runs [old]"
    folder = runs / "sweeps" / "mine"
    text = ending(tmp_path, runs)
    assert text.count(str(runs)) == 1
    assert text.splitlines()[-2:] == [
        f"results: {folder} (open leaderboard.html in a browser)",
        "next:    vprdist leaderboard mine --parts shows cities, subtasks and view directions",
    ]
    next(results_in(runs)).unlink()
    again = Console(file=io.StringIO(), width=200)
    leaderboard(folder, runs, again)
    last = "next:    1 trial(s) have no result: vprdist status mine says why, the same command again goes on"
    assert again.file.getvalue().splitlines()[-1] == last
    one = Console(file=io.StringIO(), width=200)
    leaderboard(leave(tmp_path / "one", [(result(0.5), None)]), tmp_path / "one", one)
    assert one.file.getvalue().splitlines()[-1].startswith("next:    'seeds=[0,1,2]' on the same command adds seeds")


def test_a_machine_without_a_gpu_is_a_note_and_no_warning(tmp_path):
    text = ending(tmp_path, tmp_path, fallbacks=("no GPU: ran on the CPU",))
    assert "\nno GPU: ran on the CPU\n" in text and "fell back" not in text
    folder = tmp_path / "sweeps" / "mine"
    assert "no GPU: ran on the CPU" in (folder / "leaderboard.csv").read_text(), "the row records it"
    assert "Fell back" not in (folder / "leaderboard.md").read_text() + page_path(folder).read_text()
    text = ending(tmp_path, tmp_path / "other", fallbacks=("no GPU, though the job asked for one: ran on the CPU",))
    assert "fell back: no GPU, though the job asked for one: ran on the CPU" in text
