"""What papers take: LaTeX, and plots as SVG and PNG."""

from __future__ import annotations

import builtins
import re
import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image

from tests.report.making import judged, leave, records_of, result
from vprdist.cli import main
from vprdist.errors import UserError
from vprdist.report.evidence import Block
from vprdist.report.latex import escaped, latex
from vprdist.report.page.charts import Line, line_chart, ticks


def blocks(tmp_path) -> list[Block]:
    return judged(tmp_path, [(result(0.5), records_of(0.5, 0)), (result(0.7, unfreeze="all"), records_of(0.7, 1))])


def test_a_booktabs_table_with_every_row_and_number(tmp_path):
    (block,) = blocks(tmp_path)
    text = latex([block], "mine")
    rows = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    columns = text.split(r"\begin{tabular}{")[1].split("}")[0]
    assert len(rows) == 2 and all(row.count(" & ") == len(columns) - 1 for row in rows)
    assert (
        rows[0].startswith(f"rgb all & {block.standings[0].row.metric('recall@1'):.3f} & [")
        and f"{block.standings[1].difference.value:+.3f}" in rows[1]
    )
    for command in (r"\toprule", r"\end{tabular}", r"\end{table}"):
        assert command in text
    assert len(columns) <= 9, "a paper has no room for more"
    caption = text.split(r"\caption{")[1].splitlines()[0]
    assert len(caption) < 200 and "protocol" not in caption and "the difference to rgb all" in caption
    notes = text.split(r"\end{tabular}")[1]
    assert "trains layer3, layer4" in notes if "0-2 trains" in notes else "units" not in notes
    assert block.heading in notes


def test_a_paper_chooses_columns_caption_and_finds_a_label(tmp_path):
    (block,) = blocks(tmp_path)
    text = latex([block], "a\nb", "mine & 100%/x", ("recall@5", "recall@1", "seeds", "p"), "50 % of [it] & {more}_1")
    assert r"\caption{50 \% of [it] \& \{more\}\_1}" in text and r"\label{tab:mine-100-x}" in text
    assert text.startswith("% a b\n"), "a title never leaves its comment"
    head = text.split("\\toprule\n")[1].splitlines()[0]
    assert head == r" & R@5 & R@1 & seeds \\", "without seeds there is no p"
    assert "Left out, since no row has two seeds: p." in text
    assert "to baseline:" not in text and "[95" not in text, "notes on columns that are not there"
    two = judged(tmp_path / "two", [(result(0.5), None), (result(0.5, subtask="s2w", unfreeze="all"), None)])
    labels = re.findall(r"\\label\{(.*)\}", latex(two, "t", "mine"))
    assert labels == [f"tab:mine-{block.protocol.fingerprint}" for block in two]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["recal@1"], "--columns: no such column: 'recal@1'. Did you mean 'recall@1'?"),
        (["p", "p"], "--columns: a column is named twice: 'p'"),
    ],
)
def test_columns_that_there_are_not_are_refused_before_anything_is_written(tmp_path, capsys, columns, message):
    folder = leave(tmp_path, [(result(0.5), None)])
    before = sorted(folder.iterdir())
    assert main(["leaderboard", "mine", "--runs", str(tmp_path), "--columns", *columns]) == 2
    assert message in capsys.readouterr().err and sorted(folder.iterdir()) == before
    assert main(["leaderboard", "mine", "--runs", str(tmp_path), "--columns", "recall@5", "--caption", "One_1"]) == 0
    text = (folder / "leaderboard.tex").read_text()
    assert r"\caption{One\_1}" in text and r"\begin{tabular}{lr}" in text and r"\label{tab:mine}" in text


def test_latex_escapes_what_it_would_read():
    assert escaped("a_b & 5% {x} \\ ^~ $#") == (
        r"a\_b \& 5\% \{x\} \textbackslash{} \textasciicircum{}\textasciitilde{} \$\#"
    )
    assert escaped("two\nlines") == "two lines"


def test_plots_are_real_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    from vprdist.report.plots import write_plots

    files = [judged(tmp_path, [(result(0.5), records_of(0.5, 0))])[0]]
    paths = write_plots(tmp_path / "plots", files)
    assert [path.name for path in paths] == ["recall.svg", "recall.png", "leaderboard.svg", "leaderboard.png"]
    for path in paths:
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg")
        else:
            with Image.open(path) as image:
                assert image.width > 800
    two = judged(tmp_path, [(result(0.5), None), (result(0.5, subtask="s2w", unfreeze="all"), None)])
    assert len({path.name for path in write_plots(tmp_path / "two", two)}) == 8, "a file for each protocol"


def test_without_matplotlib_there_is_one_clear_message(tmp_path, monkeypatch):
    from vprdist.report.plots import write_plots

    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"pip install 'vprdist\[plots\]'"):
        write_plots(tmp_path, blocks(tmp_path))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.13, 0.29, [0.15, 0.2, 0.25]),
        (3, 3, [3]),
        (0, 437, [0, 100, 200, 300, 400]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert ticks(low, high) == expected


def test_a_chart_is_whole_svg_and_escapes_names():
    chart = line_chart(
        [Line("<b>&", 0, [(0, 0.1), (5, 0.4)], [(5, 0.3, 0.5)])], title="t", description="<d>", x_label="x", y_label="y"
    )
    root = ElementTree.fromstring(f"<div>{chart}</div>")
    assert "".join(root.itertext()).count("<b>&") == 2, "its own title, and the legend"
    assert line_chart([], title="t", description="", x_label="", y_label="") == ""
