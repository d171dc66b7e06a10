"""Class x form and class x network, on the terminal and in every file; one form, other placebos, hostile names."""

from __future__ import annotations

import io
import json
import re

import pyarrow.parquet
import pytest
from pydantic import ValidationError

from tests.report.reports import (
    FORMS,
    HELPS,
    HOSTILE,
    HURTS,
    NONE,
    UNTOLD,
    beside,
    effect,
    full,
    in_form,
    player,
    report,
    setting,
    six_forms,
)
from vprdist.console import Console
from vprdist.files import write_text
from vprdist.report.attribution import latex, markdown, show_attribution, write_attribution
from vprdist.report.beside_words import answer, one_form, reading, title, verdict_text
from vprdist.report.wording import answer as answer_of
from vprdist.report.wording import claim_key, claim_text, name_of, setting_name
from vprdist.report.wording import reading as reading_of
from vprdist.spec.attribution import Agreement, AttributionReport, ColumnPair, Form
from vprdist.store.attribution_file import attribution_path, read_attribution


def shown(what: AttributionReport, width: int) -> str:
    out = io.StringIO()
    show_attribution(what, Console(file=out, width=width))
    return out.getvalue()


def test_the_table_says_what_holds_in_every_form():
    what = six_forms()
    (side,) = what.side_by_side
    assert title(side) == "Class x form"
    told = {each.player: verdict_text(side, what, each.player) for each in side.players}
    assert told == {
        "sidewalk": "helps in every form",
        "road": "helps in every form",
        "terrain": "depends on the form: no claim in features; helps in the other 5",
        "building": "depends on the form: hurts in features; no claim in noise; helps in the other 4",
        "pole": "depends on the form: helps in black; nothing tells in features; no claim in the other 4",
        "traffic light": "nothing tells",
        "fence": "no claim in any form",
        "vegetation": "no claim in any form",
        "traffic sign": "depends on the form: hurts in black; no claim in the other 5",
        "wall": "hurts in every form",
    }
    assert answer(side, what).startswith(
        "In every form that was run (black, mean colour, picture's mean, blur, noise and features): sidewalk, road "
        "help; wall hurts. It depends on the form for terrain (no claim in features; helps in the other 5); building ("
    )
    assert answer(side, what).endswith("No claim in any form: fence, vegetation. Nothing tells of traffic light.")


def test_where_forms_disagree_in_sign_their_numbers_stand():
    what = beside(in_form("black", {"sky": HELPS, "car": HELPS, "bus": NONE}),
                  in_form("features", {"sky": HURTS, "car": HELPS, "bus": UNTOLD}))  # fmt: skip
    (side,) = what.side_by_side
    lines = reading(side, what)
    assert lines[0] == (
        "Forms disagree in the sign of sky: it adds +0.080 [+0.060, +0.100] in black, but -0.060 [-0.080, -0.040] in "
        "features; each of these intervals leaves zero out."
    )
    assert not any("sign of car" in line or "sign of bus" in line for line in lines)
    assert lines[1].startswith("Order of what classes add, Kendall's tau-b between forms")
    assert lines[2] == (
        "Placebos: random, image everywhere; outline in black alone. More than every placebo means more than those "
        "that were run there."
    )
    assert lines[3].startswith("A verdict needs its claim in every form, so it needs no correction for their number;")
    assert "It depends on the form for sky (helps in black; hurts in features)." in answer(side, what)


def test_equal_placebos_need_no_word():
    what = beside(in_form("black", {"sky": HELPS}), in_form("blur", {"sky": HELPS}))
    assert not any("Placebos" in line for line in reading(what.side_by_side[0], what))


def test_a_form_without_a_control_costs_the_verdict_its_word():
    bare = setting(
        [player("sky", 0.1, "raises", placebos=())], named={"input.mask_fill": "blur"}, form=Form(fill="blur")
    )
    what = beside(in_form("black", {"sky": HELPS}), bare)
    (side,) = what.side_by_side
    assert verdict_text(side, what, "sky") == 'raises in every form: "helps" needs a control (subsets.placebos)'
    assert "sky raises recall@1 (" in answer(side, what) and " help;" not in answer(side, what)


def test_a_class_that_a_form_lacks_is_not_run_there():
    what = beside(in_form("black", {"sky": HELPS, "car": HELPS}), in_form("blur", {"sky": HELPS}))
    (side,) = what.side_by_side
    assert verdict_text(side, what, "car") == "depends on the form: helps in black; not run in blur"
    assert "not run" in markdown(what) and "not run" in shown(what, 100)


def test_one_form_says_once_that_it_is_one(tmp_path):
    what = beside(in_form("mean", {"sky": HELPS}), in_form("mean", {"sky": NONE}, {"network.unfreeze": "all"}))
    said = (
        "One form of the mask was run: mean colour. What is said here is of that form, and may differ in another "
        "(search.grid: {input.mask_at: [picture, features]})."
    )
    assert one_form(what) == said
    for text in (shown(what, 400), markdown(what).replace("\\", "")):
        assert text.count(said) == 1
    assert not answer_of(what.settings[0], "recall@1").startswith("In this form")
    assert one_form(six_forms()) is None and one_form(full(3)) is None, "several were run; no mask has a form"


def test_in_several_forms_a_setting_speaks_of_its_own():
    one, other = beside(in_form("black", {"sky": HELPS}), in_form("features", {"sky": NONE})).settings
    assert answer_of(one, "recall@1") == (
        "In this form (black): sky helps (+0.080 [+0.060, +0.100] recall@1, beyond every placebo)."
    )
    assert answer_of(other, "recall@1").startswith("In this form (features): no class was found to help")
    assert claim_text(one.players[0], "in this form") == "helps in this form: more than every placebo"
    assert claim_key(one).startswith("in this form, helps: ")
    assert "helps in this form" in markdown(beside(one, other))
    alone = in_form("black", {"sky": HELPS})
    assert claim_text(alone.players[0]) == "helps: more than every placebo" and claim_key(alone).startswith("helps: ")


def test_a_form_is_one_word_of_a_setting_s_name():
    keys = {"input.mask_at": "features", "network.unfreeze": "0-2"}
    rows = [
        in_form("features", {"sky": HELPS}, keys),
        in_form("mean", {"sky": HELPS}, {**keys, "input.mask_at": "picture"}),
    ]
    assert [name_of(row) for row in rows] == ["unfreeze 0-2, form features", "unfreeze 0-2, form mean colour"]
    at_picture = setting((), named={"input.mask_at": "picture"}, form=Form(fill="blur"))
    assert name_of(at_picture) == "form blur", "the file's own filling"
    assert name_of(setting((), named={"input.mode": "rgb+mask", "input.mask_fill": "black"})) == "mode rgb+mask"
    shared = {"input.mode": "masked", "input.mask_at": "picture", "input.mask_fill": "noise"}
    assert setting_name(shared) == "mode masked, form noise"


def test_columns_stand_below_each_other_in_the_file():
    lines = markdown(six_forms()).splitlines()
    assert lines[0].startswith("# Which classes help?") and lines[2] == "## Class x form", "it comes first"
    short, whole = (place for place, line in enumerate(lines) if line.startswith("| class ") and "verdict" in line)
    for first in (short, whole):
        table = lines[first : first + 12]
        bars = [[place for place, letter in enumerate(line) if letter == "|"] for line in table]
        assert len(bars[0]) == 9 and all(each == bars[0] for each in bars)
    assert lines[short + 5] == (
        "| building      | +0.078 ▲ |    +0.079 ▲ |       +0.080 ▲ | +0.081 ▲ | +0.012 – | -0.057 ▼ |       depends |"
    )
    assert "+0.078 \\[+0.058, +0.098\\] ▲" in lines[whole + 5] or "+0.078 [+0.058, +0.098] ▲" in lines[whole + 5]


@pytest.mark.parametrize("width", [60, 80, 106, 200, 300])
def test_the_terminal_ends_with_the_verdict_and_cuts_no_number(width):
    text = shown(six_forms(), width)
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    side = text[text.index("Class x form") :]
    assert " ".join(side.split()).endswith("Nothing tells of traffic light.")
    rows = [line for line in side.splitlines() if line.startswith("│")]
    assert len(rows) == 10
    for row in rows:
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        assert re.fullmatch(r"[+-]\d\.\d{3}( \[.*\])? [▲▼–?]", cells[1])
        assert cells[-1], "the verdict is never left out"
    assert ("no room for" in side) == (width < 106)


def test_latex_has_a_row_a_class_and_every_column():
    text = latex(six_forms())
    table = text.split(r"\begin{table}")[1]
    assert "mean colour & picture's mean" in table
    rows = table.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(rows) == 10 and all(row.count(" & ") == 7 for row in rows)
    assert r"$\mathbf{+0.119}$" in rows[0] and "$+0.014$" in "".join(rows)
    assert text.count(r"\begin{table}") == 7


def test_parquet_has_verdicts_differences_and_agreements(tmp_path):
    two = networks()
    write_attribution(tmp_path, two)
    assert read_attribution(attribution_path(tmp_path)) == two
    rows = pyarrow.parquet.read_table(tmp_path / "attribution.parquet").to_pylist()
    verdicts = {row["player"]: row["claim"] for row in rows if row["kind"] == "verdict"}
    assert verdicts == {"sky": "helps", "car": "depends", "pole": "depends", "bus": "none"}
    (difference,) = [row for row in rows if row["kind"] == "difference" and row["player"] == "car"]
    assert (difference["name"], difference["value"], difference["low"]) == ("GCL, SALAD", 0.1, 0.05)
    (alike,) = [row for row in rows if row["kind"] == "agreement"]
    assert (alike["player"], alike["value"], alike["high"]) == (None, 0.4, 0.8)
    assert {json.loads(row["setting"])["input.mode"] for row in rows if row["kind"] == "verdict"} == {"masked"}


def networks(**more) -> AttributionReport:
    """Two fixed networks: both use the sky, they differ in cars and poles."""
    shared = {"input.mode": "masked"}
    claims = {
        "GCL": {"sky": HELPS, "car": HELPS, "pole": HURTS, "bus": NONE},
        "SALAD": {"sky": HELPS, "car": NONE, "pole": HELPS, "bus": NONE},
    }
    rows = [
        setting([player(each, *told) for each, told in players.items()], named={**shared, "network.backbone": name},
                num_seeds=1, is_fixed=True, **more)
        for name, players in claims.items()
    ]  # fmt: skip
    apart = {"sky": effect(0.0, 0.03), "car": effect(0.1, 0.05), "pole": effect(-0.1, 0.05), "bus": effect(0.01, 0.03)}
    what = beside(*rows)
    (side,) = what.side_by_side
    pair = ColumnPair(
        columns=side.columns, agreement=Agreement(count=4, tau=0.4, low=-0.2, high=0.8), differences=apart
    )
    side = side.model_copy(update={"pairs": (pair,)})
    return what.model_copy(update={"side_by_side": (side,)})


def test_do_two_networks_look_at_the_same_things():
    what = networks()
    (side,) = what.side_by_side
    assert title(side) == "Class x network (mode masked)"
    assert side.columns == ("GCL", "SALAD")
    said = next(line for line in reading(side, what) if line.startswith("Do GCL and SALAD look at the same things?"))
    assert said == (
        "Do GCL and SALAD look at the same things? Claimed in both: sky (helps); in opposite directions: pole; in GCL "
        "alone: car (helps). Told apart on the same queries, GCL less SALAD: car +0.100 [+0.050, +0.150], pole -0.100 "
        "[-0.150, -0.050]; the others are not (no difference larger than 0.040). Kendall's tau-b of what classes add: "
        "0.40 [-0.20, 0.80]."
    )
    assert "Nobody trained these networks: claims hold for each very network, over places." in reading(side, what)
    assert "GCL less SALAD" in markdown(what)
    (one, _) = what.settings
    assert any("this very network (nobody trained it)" in line and "claims" in line for line in reading_of(one))
    assert "another seed's" not in answer_of(one, "recall@1")


def test_networks_without_differences_say_what_is_missing():
    what = networks()
    (side,) = what.side_by_side
    (pair,) = side.pairs

    def said(**fields) -> str:
        other = side.model_copy(update={"pairs": (pair.model_copy(update=fields),)})
        return " ".join(reading(other, what))

    assert "How much they differ is not told" in said(differences={})
    alike = {name: effect(0.01) for name in pair.differences}
    assert "On the same queries no class is told apart between them (no difference larger than 0.040)." in said(
        differences=alike
    )
    assert "tau-b" not in said(agreement=Agreement(count=2, tau=None))


def test_hostile_names_stay_text(tmp_path):
    rows = [setting([player(HOSTILE, 0.1, "helps")], named={"network.backbone": name}) for name in (HOSTILE, "b")]
    what = beside(*rows)
    for width in (60, 200):
        assert max(map(len, shown(what, width).splitlines())) <= width
    write_attribution(tmp_path, what)
    assert "\\evil" not in (tmp_path / "attribution.tex").read_text()
    assert "<script>" not in (tmp_path / "attribution.md").read_text().replace("\\<script>", "")


def test_a_report_of_version_3_is_read(tmp_path):
    what = report(setting([player("sky", 0.1, "helps")]))
    old = what.model_dump(mode="json") | {"version": 3}
    del old["side_by_side"]
    for row in old["settings"]:
        for key in ("form", "num_forms", "is_fixed"):
            del row[key]
    write_text(attribution_path(tmp_path), json.dumps(old))
    read = read_attribution(attribution_path(tmp_path))
    assert read == what.model_copy(update={"version": 3}) and "helps" in markdown(read)


@pytest.mark.parametrize(
    ("columns", "settings"), [(("a", "a"), (0, 1)), (("a",), (0, 1)), (("a", "b"), (0, 2)), (("a", "b"), (-1, 0))]
)
def test_columns_are_settings_of_the_report(columns, settings):
    rows = [in_form(form, {"sky": HELPS}) for form in list(FORMS)[:2]]
    side = {"kind": "form", "shared": {}, "columns": columns, "settings": settings, "players": ()}
    with pytest.raises(ValidationError, match="column must"):
        AttributionReport(objective="recall@1", settings=tuple(rows), side_by_side=(side,))


def test_class_x_form_is_drawn_for_papers(tmp_path):
    pytest.importorskip("matplotlib")
    from vprdist.report.plots import write_attribution_plots

    rows = six_forms(names=("black", "blur")).settings
    sky = in_form("noise", {"sky": HELPS})
    for what, names in (
        (beside(*rows, sky), ["attribution-form"]),
        (beside(*rows, *(in_form(f, {HOSTILE: HELPS}, {"network.unfreeze": "all"}) for f in ("black", "blur"))),
         ["attribution-form-1", "attribution-form-2", "attribution-network-1", "attribution-network-2"]),
    ):  # fmt: skip
        paths = write_attribution_plots(tmp_path, what)
        assert sorted({path.stem for path in paths if re.search("form|network", path.stem)}) == names
        assert all(path.stat().st_size > 1000 for path in paths)
