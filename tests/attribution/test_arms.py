"""A searcher of subsets that says nothing of classes: the report has its arms, and claims nothing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.attribution.making import Finished, resolved
from vprdist.attribution.attribute import attribute
from vprdist.console import Console
from vprdist.files import canonical_json
from vprdist.report.attribution import markdown, show_attribution
from vprdist.report.wording import answer, control, heading, reading
from vprdist.spec.attribution import SettingRow
from vprdist.spec.sweep import trial_at

MINE = "class Mine:\n    def __init__(self, space, seed): pass\n    def propose(self, told): return None\n"
TRIED = (("building",), ("pole", "sky"), ("building", "pole"))


class Tried(Finished):
    """A sweep whose searcher, a user's own, has tried some subsets."""

    def __init__(self, root: Path, tmp_path: Path, searcher: str, *more: str) -> None:
        (tmp_path / "mine.py").write_text(MINE)
        words = ["search.subsets.take=null", f"search.searcher={searcher}", "search.num_trials=5", "seeds=[0]", *more]
        super().__init__(root, tmp_path, words)
        for classes in TRIED:
            point = {"input.classes": list(classes), **({"train.lr": 0.1} if more else {})}
            trial = resolved(trial_at(self.sweep, point))
            self.ids[canonical_json(point)] = trial.trial_id
            self.finish(trial)


@pytest.fixture
def mine(tmp_path: Path) -> str:
    return f"{tmp_path / 'mine.py'}:Mine"


def test_every_arm_that_was_tried_has_its_row_and_no_class_has_a_claim(
    small_tree: Path, tmp_path: Path, mine: str
) -> None:
    finished = Tried(small_tree, tmp_path, mine)
    told = finished.setting()
    expected = {names: finished.of(names, 0) for names in TRIED}
    assert {arm.players: arm.value for arm in told.arms} == pytest.approx(expected)
    assert [arm.value for arm in told.arms] == sorted(expected.values(), reverse=True)
    assert told.players == told.pairs == told.taken == ()
    assert told.method == "Mine"
    assert told.cost is not None and told.cost.num_trials == 3
    failed = next(iter(finished.results))
    del finished.results[failed]
    assert len(finished.setting().arms) == 2
    finished.results.clear()
    assert finished.report() is None


def test_what_is_shown_of_it_claims_nothing_and_asks_for_no_control(
    small_tree: Path, tmp_path: Path, mine: str
) -> None:
    finished = Tried(small_tree, tmp_path, mine)
    told: SettingRow = finished.setting()
    best = max(TRIED, key=lambda names: finished.of(names, 0))
    text = f"The best arm is {' + '.join(best)}: recall@1 {told.arms[0].value:.3f}."
    assert heading(told) == "Mine"
    assert answer(told, "recall@1") == f"No class is claimed to help or to hurt. {text}"
    assert control(told) is None
    assert reading(told)[0].startswith("Values without intervals, on these")
    assert "says nothing of single classes" in reading(told)[-1]
    report = finished.report()
    assert report is not None
    out = io.StringIO()
    show_attribution(report, Console(file=out, width=200))
    for shown in (out.getvalue(), markdown(report)):
        assert text in shown
    assert "The best and the worst arms" in markdown(report)


def test_where_more_than_subsets_is_searched_nothing_is_said(small_tree: Path, tmp_path: Path, mine: str) -> None:
    finished = Tried(small_tree, tmp_path, mine, "search.space={train.lr: [0.1, 0.2]}")
    assert attribute(finished.sweep, finished.trials, finished.ids, finished.results, finished.runs) is None
    optuna = Tried(small_tree, tmp_path, "optuna")
    assert attribute(optuna.sweep, optuna.trials, optuna.ids, optuna.results, optuna.runs) is None
