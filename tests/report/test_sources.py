"""Every form of the leaderboard names rows of different code, and never ranks other computations together."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.report.making import leave, records_of, result, rows_of
from vprdist.console import Console
from vprdist.report.board_page import page_path
from vprdist.report.evidence import weigh
from vprdist.report.latex import latex
from vprdist.report.leaderboard import markdown, show
from vprdist.report.publish import leaderboard
from vprdist.report.sources import by_source, code_lines, source_words
from vprdist.source import Source

COMMITTED = Source(version="0.1.0", digest="ab12" * 4, changed=False, commit="c0ffee00" * 5)
EDITED = Source(version="0.1.0", digest="cd34" * 4, changed=True, files=("training/losses/gcl.py",))
WHEEL = Source(version="0.2.0", digest="ef56" * 4, changed=False)
MIXED = (
    "Rows come from different code: 3 trials of source ab12ab12 (version 0.1.0, commit c0ffee00); 1 trial of source "
    "cd34cd34 (version 0.1.0, changed by hand: training/losses/gcl.py): masked all; 1 trial of unknown source (older "
    "results name none): rgb 2-2."
)


def mixed():
    return [
        result(0.5, source=COMMITTED),
        result(0.6, seed=1, source=COMMITTED),
        result(0.7, mode="masked", source=COMMITTED),
        result(0.4, mode="masked", unfreeze="all", source=EDITED),
        result(0.3, unfreeze="2-2"),
    ]


def of_computation(one, number: int):
    """The result of the same trial, made by code of that computation."""
    trial = one.trial.model_copy(update={"digests": one.trial.digests.model_copy(update={"computation": number})})
    protocol = one.protocol.model_copy(update={"computation": number})
    return one.model_copy(update={"trial": trial, "trial_id": trial.trial_id, "protocol": protocol})


def flat(text: str) -> str:
    return " ".join(text.split())


def test_which_trials_come_from_which_code() -> None:
    assert code_lines(rows_of(*mixed())) == [MIXED]


def test_rows_of_one_code_need_no_words_unless_it_was_changed_by_hand() -> None:
    assert code_lines([]) == []
    assert code_lines(rows_of(result(0.5), result(0.6, unfreeze="all"))) == [], "nobody knows: both are old"
    assert code_lines(rows_of(result(0.5, source=WHEEL), result(0.6, unfreeze="all", source=WHEEL))) == []
    assert code_lines(rows_of(result(0.5, source=EDITED), result(0.6, unfreeze="all", source=EDITED))) == [
        "All rows come from code that was changed by hand: source cd34cd34 (version 0.1.0, changed by hand: "
        "training/losses/gcl.py)."
    ]


def test_a_row_over_seeds_of_two_codes_is_told_too() -> None:
    (line,) = code_lines(rows_of(result(0.5, source=WHEEL), result(0.6, seed=1, source=EDITED)))
    assert "1 trial of source cd34cd34" in line and "1 trial of source ef56ef56 (version 0.2.0): rgb 0-2" in line


def test_many_rows_and_files_are_counted() -> None:
    files = tuple(f"a{i}.py" for i in range(5))
    many = Source(version="0.1.0", digest="99" * 8, changed=True, files=files)
    rows = [result(0.5, margin=m / 10, source=WHEEL) for m in range(1, 8)]
    rows += [result(0.5, unfreeze=u, source=many) for u in ("0-4", "2-2", "2-4", "all", "1-1")]
    (line,) = code_lines(rows_of(*rows))
    assert "changed by hand: a0.py, a1.py, a2.py and 2 more): 0" not in line
    assert "changed by hand: a0.py, a1.py, a2.py and 2 more): rgb " in line and line.endswith("and 2 more rows.")


def test_a_text_that_was_committed_later_is_the_same_code() -> None:
    before = Source(version="0.1.0", digest=COMMITTED.digest, changed=True, files=("x.py",), commit="0" * 40)
    for order in ([before, COMMITTED], [COMMITTED, before], [COMMITTED, None, before]):
        assert by_source(order)[0].source == COMMITTED
    assert "commit" not in source_words(before), "that commit is not what ran"


def test_every_form_says_it_once(tmp_path: Path) -> None:
    folder = leave(tmp_path, [(one, None) for one in mixed()])
    out = io.StringIO()
    assert leaderboard(folder, tmp_path, Console(file=out, width=100)) == 0
    page = page_path(folder).read_text()
    tex = (folder / "leaderboard.tex").read_text()
    for text in (out.getvalue(), (folder / "leaderboard.md").read_text(), page, tex):
        assert flat(text).count(MIXED) == 1


def test_the_files_tell_each_rows_code(tmp_path: Path) -> None:
    rows = [*mixed(), result(0.55, seed=2, source=EDITED)]
    folder = leave(tmp_path, [(one, None) for one in rows])
    leaderboard(folder, tmp_path, Console(file=io.StringIO()))
    with (folder / "leaderboard.csv").open() as stream:
        from_csv = {row["name"]: row for row in csv.DictReader(stream)}
    expected = {
        "masked 0-2": ("1", "0.1.0", "ab12" * 4, "no"),
        "masked all": ("1", "0.1.0", "cd34" * 4, "training/losses/gcl.py"),
        "rgb 2-2": ("1", "unknown", "unknown", "unknown"),
        "rgb 0-2": ("1", "0.1.0", f"{'ab12' * 4} {'cd34' * 4}", "no training/losses/gcl.py"),
    }
    columns = ("computation", "version", "source", "changed_by_hand")
    assert {name: tuple(row[c] for c in columns) for name, row in from_csv.items()} == expected
    table = pyarrow.parquet.read_table(folder / "leaderboard.parquet").to_pylist()
    assert {row["name"]: tuple(str(row[c]) for c in columns) for row in table} == expected


def test_other_computations_have_a_table_of_their_own_and_it_is_said(tmp_path: Path) -> None:
    rows = [result(0.5), result(0.9, unfreeze="all"), of_computation(result(0.7), 2)]
    blocks = weigh(rows_of(*rows), "recall@1", lambda trial: None, None)
    assert sorted(len(block.standings) for block in blocks) == [1, 2]
    newer = next(block for block in blocks if len(block.standings) == 1)
    assert newer.heading.endswith(", computation 2")
    said = (
        "Rows come from different computations, which are never ranked together: 2 trials of computation 1, 1 trial of "
        "computation 2."
    )
    out = io.StringIO()
    show(blocks, "t", Console(file=out, width=120))
    for text in (out.getvalue(), markdown(blocks, "t")):
        assert flat(text).count(said) == 1
    assert flat(latex(blocks, "t")).count(said) == 2, "each table goes its own way into a paper"
    folder = leave(tmp_path, [(one, records_of(0.5, i)) for i, one in enumerate(rows)])
    leaderboard(folder, tmp_path, Console(file=io.StringIO()))
    assert said in page_path(folder).read_text()


def test_the_page_says_what_repeats_it(tmp_path: Path) -> None:
    folder = leave(tmp_path, [(one, None) for one in mixed()])
    leaderboard(folder, tmp_path, Console(file=io.StringIO()))
    page = page_path(folder).read_text().replace("&#34;", '"')
    for source in (COMMITTED, EDITED):
        assert f'"digest": "{source.digest}"' in page
    assert '"commit": "' + COMMITTED.commit + '"' in page
    assert page.count(f'"source": "{COMMITTED.digest}"') == 3, "trial by trial"


@pytest.mark.parametrize("width", [60, 100])
def test_the_page_shows_it_under_the_table(browser, tmp_path: Path, width: int) -> None:
    folder = leave(tmp_path, [(one, records_of(0.5, i)) for i, one in enumerate(mixed())])
    leaderboard(folder, tmp_path, Console(file=io.StringIO()))
    browser.open(page_path(folder), width=width * 10)
    find = "[...document.querySelectorAll('p.warn')].find(p => p.textContent.startsWith('Rows come from different'))"
    assert browser.run(f"{find}.textContent") == MIXED
    assert browser.run(
        f"{find}.getBoundingClientRect().top > document.querySelector('#table1').getBoundingClientRect().bottom"
    )
    assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "the line breaks"
    assert browser.complaints == []
