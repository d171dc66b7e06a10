"""An attribution's words, files and terminal table: claims as documented, numbers never cut, hostile names."""

from __future__ import annotations

import io
import itertools
import json
import re

import pyarrow.parquet
import pytest
from PIL import Image
from pydantic import ValidationError

from tests.report.reports import HOSTILE, effect, full, greedy, player, report, setting
from vprdist.console import Console
from vprdist.errors import UserError
from vprdist.parquet import read_parquet
from vprdist.report.attribution import effect_records, markdown, show_attribution, write_attribution
from vprdist.report.attribution_tables import arm_columns, pair_columns, part_columns, player_columns
from vprdist.report.wording import (
    NO_CONTROL,
    agreement_text,
    answer,
    claim_text,
    control,
    cost_text,
    heading,
    reading,
    setting_name,
    steps,
)
from vprdist.spec.attribution import EFFECT_COLUMNS, Agreement, ArmValue, Cost, PairRow
from vprdist.store.attribution_file import attribution_files, attribution_path, read_attribution


def shown(what, width: int) -> str:
    out = io.StringIO()
    show_attribution(what, Console(file=out, width=width))
    return out.getvalue()


def test_the_answer_comes_first_and_says_what_was_not_found():
    row = setting(
        [
            player("building", 0.12, "helps", half=0.04),
            player("sky", 0.05, bound=0.041),
            player("wall", 0.01, bound=0.03),
            player("fence", -0.01, bound=0.025),
            player("car", -0.05, "hurts"),
            player("bus", 0.0, "untold", half=None),
        ]
    )
    assert answer(row, "recall@1") == (
        "building helps (+0.120 [+0.080, +0.160] recall@1, beyond every placebo); "
        "car hurts (-0.050 [-0.080, -0.020] recall@1, less than every placebo adds); "
        "sky (+0.050 [+0.020, +0.080]) changes recall@1, but no more than placebos do, as far as this tells (none "
        "larger than 0.041 beyond them was detected); "
        "no effect larger than 0.030 beyond placebos was detected for wall, fence; "
        "nothing here tells of bus (too few seeds or queries)."
    )
    assert control(row) is None


def test_one_network_is_said_where_its_intervals_stand(tmp_path):
    players = [player("building", 0.12, "untold", half=0.04), player("sky", 0.05, "untold")]
    one, more = report(setting(players, num_seeds=1)), report(setting(players, num_seeds=2))
    assert answer(one.settings[0], "recall@1") == (
        "Nothing here tells of building, sky (one network; another seed's may answer otherwise)."
    )
    write_attribution(tmp_path, one)
    for text in (markdown(one), (tmp_path / "attribution.tex").read_text(), shown(one, 80), shown(one, 200)):
        words = " ".join(text.split())
        assert "this network" in words and "another seed's may answer otherwise" in words
    assert "Intervals of all classes hold together" in " ".join(reading(one.settings[0]))
    assert "this network" not in markdown(more) and "adds [95 %]" in markdown(more)


def test_many_claims_are_named_and_the_strongest_have_numbers():
    row = setting([player(f"c{i}", 0.2 - i / 100, "raises", placebos=()) for i in range(5)])
    text = answer(row, "recall@5")
    assert (
        text.startswith("c0 (+0.200 [+0.170, +0.230]), c1 (") and " raise recall@5, and by less c3, c4 (each: " in text
    )
    assert text.endswith("""(each: "helps" needs a control (subsets.placebos)).""")
    assert control(row) == NO_CONTROL


def test_nothing_found_is_not_no_effect():
    row = setting([player("wall", 0.0, bound=0.07, placebos=()), player("car", 0.01, bound=None, placebos=())])
    text = answer(row, "recall@1")
    assert text.startswith("No class was found to raise or to lower recall@1; no effect was detected for wall, car")
    beside = answer(setting([player("wall", 0.0)]), "recall@1")
    assert beside.startswith("No class was found to help or to hurt; no effect larger than 0.030 beyond placebos was")
    assert "larger" not in text, "one of them has no bound"


@pytest.mark.parametrize(
    ("claim", "placebos", "expected"),
    [
        ("helps", ("random",), "helps: more than every placebo"),
        ("raises", (), 'raises: "helps" needs a control (subsets.placebos)'),
        ("lowers", (), 'lowers: "hurts" needs a control (subsets.placebos)'),
        ("hurts", ("random",), "hurts: less than every placebo adds"),
        ("none", (), "no effect larger than 0.030 detected"),
        ("none", ("random",), "no effect larger than 0.030 detected beyond its placebos"),
        ("untold", ("random",), "nothing here tells"),
    ],
)
def test_claims_are_worded_as_they_are_meant(claim, placebos, expected):
    assert claim_text(player("wall", 0.1, claim, placebos=placebos)) == expected


def test_a_control_for_some_is_told():
    row = setting([player("wall", 0.1, "helps"), player("all", 0.1, "raises", placebos=())])
    assert control(row) == "No control was run for all."
    text = answer(row, "recall@1")
    assert "wall helps (+0.100 [+0.070, +0.130] recall@1, beyond every placebo)" in text
    assert 'all raises recall@1 (+0.100 [+0.070, +0.130]; "helps" needs a control (subsets.placebos))' in text


@pytest.mark.parametrize(("claim", "placebos"), [("helps", ()), ("hurts", ()), ("raises", ("random",))])
def test_a_report_cannot_say_helps_without_a_control(claim, placebos):
    with pytest.raises(ValidationError, match="only beyond placebos can a player help or hurt"):
        player("wall", 0.1, claim, placebos=placebos)


@pytest.mark.parametrize("width", [60, 200])
def test_without_a_control_helps_is_said_nowhere(tmp_path, width):
    what = full(5, 2, placebos=())
    write_attribution(tmp_path, what)
    rows = pyarrow.parquet.read_table(tmp_path / "attribution.parquet").to_pylist()
    assert {row["claim"] for row in rows if row["kind"] == "adds"} == {"raises", "untold"}
    saved = json.loads((tmp_path / "attribution.json").read_text())
    assert {each["claim"] for each in saved["settings"][0]["players"]} == {"raises", "untold"}
    for text in (shown(what, width), markdown(what), (tmp_path / "attribution.tex").read_text()):
        said = " ".join(text.split()).replace("\\_", "_")
        assert re.findall(r'[^" ]* ?"helps" ?[^ ]*', said), "it says what would be needed"
        assert not re.search(r"(?<!\")\bhelps\b(?!\")|\bhurts\b", said)
        assert '"helps" needs a control (subsets.placebos)' in said
        assert "raises" in said


def test_settings_have_short_names_that_stay_different():
    assert setting_name({"input.mode": "masked", "network.unfreeze": "0-2"}) == "mode masked, unfreeze 0-2"
    assert setting_name({"a.size": 1, "b.size": [1, 2]}) == "a.size 1, b.size 1+2"
    assert heading(setting([], method="of_tomorrow")) == "of tomorrow"


def test_greedy_tells_its_order_and_what_each_step_brought():
    (row,) = greedy().settings
    assert answer(row, "recall@1") == "Taken in, in this order: building, then pole, then traffic sign."
    assert steps(row) == ["building: 0.500 (+0.480)", "pole: 0.600 (+0.100)", "traffic sign: 0.700 (+0.100)"]
    bare = setting((), method="greedy", taken=("sky",), nobody=None)
    assert steps(bare) == ["sky"]
    assert answer(setting((), method="greedy"), "recall@1") == "No class was taken in."
    assert answer(setting(()), "recall@1") == "No class could be measured."


def test_agreement_and_cost_are_sentences():
    assert "tau 0.71 [0.40, 0.90] over 12 arms" in agreement_text(Agreement(count=12, tau=0.71, low=0.4, high=0.9))
    assert " agree with" in agreement_text(Agreement(count=12, tau=0.71, low=0.4, high=0.9))
    assert "not told to agree" in agreement_text(Agreement(count=3, tau=0.71))
    assert "contradict" in agreement_text(Agreement(count=9, tau=-0.7, low=-0.9, high=-0.1))
    assert "1 arm in common" in agreement_text(Agreement(count=1, tau=None))
    one = Cost(num_trials=1, train_s=100.0)
    assert cost_text(one) == "It took 1 training (100 rank-seconds with their evaluation)."
    fixed = Cost(num_trials=1, train_s=100.0, num_probes=60, probe_s=30.0)
    assert cost_text(fixed, is_fixed=True) == (
        "Nothing was trained: it took 1 evaluation (100 rank-seconds) and 60 probes (30 rank-seconds)."
    )
    told = reading(setting(()).model_copy(update={"is_fixed": True, "cost": fixed}))
    assert not any("training (" in line for line in told) and any("Nothing was trained" in line for line in told)
    many = Cost(
        num_trials=19, train_s=72_000, num_probes=240, probe_s=1800, num_finalists=2, finalists_s=9e6, on_gpu=True
    )
    assert cost_text(many) == (
        "It took 19 trainings (20 GPU-hours with their evaluation) and 240 probes (0.5 GPU-hours); "
        "2 finalists apart: 2,500 GPU-hours."
    )


@pytest.mark.parametrize("what", [full(19, 3), full(1), greedy(), report(), full(4, placebos=())])
def test_a_report_survives_its_file(tmp_path, what):
    paths = write_attribution(tmp_path, what)
    assert {path.name for path in paths} == {f"attribution.{end}" for end in ("json", "parquet", "md", "tex")}
    assert read_attribution(attribution_path(tmp_path)) == what
    assert attribution_files(tmp_path) == paths
    table = read_parquet(paths[1])
    assert tuple(table) == EFFECT_COLUMNS
    records = effect_records(what)
    assert [dict(zip(EFFECT_COLUMNS, row, strict=True)) for row in zip(*table.values(), strict=True)] == [
        {name: record.get(name) for name in EFFECT_COLUMNS} for record in records
    ]


def test_parquet_has_a_row_an_effect(tmp_path):
    what = report(
        setting(
            [player("a", 0.1, "helps", placebos=("random", "image"), parts=1), player("b", 0.0, placebos=())],
            named={"input.mode": "masked"},
            pairs=(PairRow(players=("a", "b"), adds=effect(0.2), claim="complement"),),
        )
    )
    write_attribution(tmp_path, what)
    rows = pyarrow.parquet.read_table(tmp_path / "attribution.parquet").to_pylist()
    kinds = [(row["player"], row["kind"], row["name"], row["placebo"]) for row in rows]
    assert kinds == [
        ("a", "adds", None, None), ("a", "adds", None, "random"), ("a", "adds", None, "image"),
        ("a", "beyond", None, "random"), ("a", "beyond", None, "image"), ("a", "city", "city0", None),
        ("a", "subtask", "s2w", None), ("b", "adds", None, None), ("a", "interaction", "b", None),
    ]  # fmt: skip
    assert [row["claim"] for row in rows] == ["helps", *[None] * 6, "none", "complement"]
    assert rows[0] | {"num_queries": 312, "value": 0.1} == rows[0] and rows[5]["num_queries"] == 100
    assert rows[7]["bound"] == 0.03 and rows[0]["bound"] is None
    assert {json.loads(row["setting"])["input.mode"] for row in rows} == {"masked"}


@pytest.mark.parametrize(
    "text",
    [
        '[{"setting": {}, "players": []}]', '{"version": 2}', '{"version": 3}', "{", "\udcff", "null", "[" * 100_000,
        '{"version": 3, "objective": "recall@1", "settings": [{"method": 5}]}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_with_a_remedy(tmp_path, text):
    path = attribution_path(tmp_path)
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"attribution.json: an attribution .*Run the sweep again"):
        read_attribution(path)
    assert read_attribution(tmp_path / "none.json") is None
    with pytest.raises(UserError):
        read_attribution(tmp_path)


NUMBER = re.compile(r"[+-]?\d\.\d+")


@pytest.mark.parametrize("width", [60, 100, 200, 400])
@pytest.mark.parametrize("what", [full(19), full(1), full(5, placebos=()), full(3, placebos=("random",))])
def test_a_narrow_terminal_leaves_out_columns_and_cuts_no_number(what, width):
    text = shown(what, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width and "…" not in text
    (row,) = what.settings
    table = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert len(table) == len(row.players), "a line each"
    heads = " ".join(line for line in lines if line.startswith("┃"))
    assert "class" in heads and "adds" in heads and "claim" in heads
    for cells, each in zip(table, row.players, strict=True):
        assert cells[0] == each.player
        assert cells[1].startswith(f"{each.adds.value:+.3f} [") and cells[1].endswith("]")
        for cell in cells[1:]:
            assert cell.count("[") == cell.count("]")
    assert ("no room for" in text) == (len(table[0]) < len(next(iter(markdown_tables(what)))))


def markdown_tables(what):
    lines = [line for line in markdown(what).splitlines() if line.startswith("|")]
    return [line.strip("|").split(" | ") for line in lines]


@pytest.mark.parametrize("width", [60, 200])
def test_flipped_queries_are_said_to_be_of_one_network(width):
    said = "Queries that are gained and lost are those of the first seed's network alone."
    assert said in " ".join(shown(full(3), width).split()) and said in markdown(full(3))
    (row,) = full(3).settings
    assert said not in reading(row.model_copy(update={"num_seeds": 1})), "there is no other"
    assert said not in reading(setting([player("wall", 0.1)])), "nobody looked"
    meanings = {column.head: column.meaning for column in player_columns(row)}
    assert all(meanings[head].endswith("by the first seed's network") for head in ("gained", "lost"))


def test_a_short_claim_is_explained():
    text = shown(full(19), 60)
    assert "none > 0.030" in text and "none larger than x" in " ".join(text.split())
    assert "helps: more than every placebo" in " ".join(text.split())


def test_of_several_placebos_a_narrow_table_shows_the_nearest():
    one = player("a", 0.1, "helps", placebos=("random", "image"))
    text = shown(report(setting([one, player("b", -0.1, "hurts", placebos=("random", "image"))])), 90)
    cells = [line.split("│") for line in text.splitlines() if line.startswith("│")]
    assert cells[0][3].strip().startswith("+0.085") and cells[1][3].strip().startswith("-0.110")


def test_hostile_names_stay_text(tmp_path):
    what = report(setting([player(HOSTILE, 0.1, "helps"), player("[bold]wall[/]", 0.0)]))
    for width in (60, 200):
        text = shown(what, width)
        assert "[bold]wall[/]" in text and max(map(len, text.splitlines())) <= width
    write_attribution(tmp_path, what)
    rows = [line for line in (tmp_path / "attribution.md").read_text().splitlines() if line.startswith(r"| \<script>")]
    assert len(rows) == 1 and "\\|" in rows[0]
    tex = (tmp_path / "attribution.tex").read_text()
    assert r"\textbackslash{}evil\{\}" in tex and r"\$x\_1\$" in tex and "\\evil" not in tex


def test_the_latex_table_has_every_player_and_whole_rows(tmp_path):
    write_attribution(tmp_path, full(19, 2))
    text = (tmp_path / "attribution.tex").read_text()
    tables = text.split(r"\begin{table}")[1:]
    assert len(tables) == 2
    for table in tables:
        columns = table.split(r"\begin{tabular}{")[1].split("}")[0]
        rows = table.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
        assert len(rows) == 19 and all(row.count(" & ") == len(columns) - 1 for row in rows)
        assert "$+0.150$ $[+0.120, +0.180]$" in rows[0] or "$+0.148$" in rows[0]
    assert "–" not in text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    write_attribution(tmp_path, greedy())
    assert (tmp_path / "attribution.tex").read_text() == ""


def test_pairs_that_are_claimed_are_never_left_out():
    names = [f"p{i}" for i in range(7)]
    pairs = [
        PairRow(players=pair, adds=effect(0.5 - i / 100), claim="none" if i < 15 else "replace")
        for i, pair in enumerate(itertools.combinations(names, 2))
    ]
    columns = pair_columns(setting([], pairs=tuple(pairs)))
    words = [cell.text for cell in columns[2].cells]
    assert len(words) == 10 and words.count("one stands in for the other") == 6
    values = [abs(cell.sort) for cell in columns[1].cells]
    assert values == sorted(values, reverse=True)


def test_arms_are_the_best_and_the_worst_with_their_placebos():
    names = tuple(f"p{i}" for i in range(30))
    arms = [ArmValue(players=names[:n], value=n / 100, num_seeds=2, alone=0.5 if n == 30 else None) for n in range(31)]
    arms.append(ArmValue(players=names, placebo="image", value=0.11, num_seeds=2))
    columns = {
        column.head: [cell.text for cell in column.cells] for column in arm_columns(setting([], arms=tuple(arms)))
    }
    assert columns["value"] == [
        "0.300",
        "0.290",
        "0.280",
        "0.270",
        "0.260",
        "0.040",
        "0.030",
        "0.020",
        "0.010",
        "0.000",
    ]
    assert columns["arm"][:2] == ["all 30", "all 30 but p29"] and columns["arm"][-3:] == ["p0, p1", "p0", "nobody"]
    assert columns["placebo image"][:2] == ["0.110", "–"] and columns["alone"][:2] == ["0.500", "–"]


def test_parts_that_some_players_lack_are_dashes():
    row = setting([player("a", 0.1, parts=2), player("b", 0.0, parts=1), player("c", 0.0)])
    columns = {column.head: [cell.text for cell in column.cells] for column in part_columns(row)}
    assert list(columns)[1:] == [
        "city city0 (n 100)", "city city1 (n 101)", "subtask s2w (n 50)", "subtask n2o (n 50)",
    ]  # fmt: skip
    assert columns["city city1 (n 101)"][1] == "–" and columns["class"] == ["a", "b"]
    assert columns["subtask n2o (n 50)"][0] == "+0.100 [–]"
    assert part_columns(setting([player("c", 0.0)])) == []


def test_a_figure_for_each_setting_with_players(tmp_path):
    pytest.importorskip("matplotlib")
    from vprdist.report.plots import write_attribution_plots

    hostile = setting([player(HOSTILE, 0.1, "helps"), player("$bad^", 0.0, "untold", half=None, placebos=())])
    what = report(hostile, *full(19).settings, *greedy().settings)
    paths = write_attribution_plots(tmp_path, what)
    assert [path.name for path in paths] == [f"attribution-{n}.{kind}" for n in (1, 2) for kind in ("svg", "png")]
    with Image.open(paths[3]) as image:
        assert image.height > image.width > 800
    assert [path.name for path in write_attribution_plots(tmp_path, full(2))] == ["attribution.svg", "attribution.png"]
