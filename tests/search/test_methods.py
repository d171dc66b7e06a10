"""Every method of search is one object: all that it names can be loaded, and another one is a file and a line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from vprdist.search.proposing import Proposing
from vprdist.spec.doors import SearcherName
from vprdist.spec.methods import LISTED, METHODS, Method, load
from vprdist.spec.methods.points import Points
from vprdist.spec.named import BuiltIn
from vprdist.spec.sweep_file import read_sweep

PACKAGE = Path(__file__).resolve().parents[2] / "vprdist"
SUBSETS = "search={{searcher: {word}, subsets: {{classes: [building, pole, sky]}}, num_trials: {num_trials}}}"
WALK = """
class Walk:
    def __init__(self, space, seed, step: float = 0.25):
        self.space, self.step = space, step

    def propose(self, told):
        return {axis: domain.low + self.step * len(told) for axis, domain in self.space.items()}
"""


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text("trial: {input: {mode: masked}}\n")
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize("word", METHODS)
def test_what_a_method_names_is_there(word: str, sweep_file: Path) -> None:
    method = METHODS[word]
    sweep = read_sweep(sweep_file, [SUBSETS.format(word=word, num_trials="null" if method.counts else 99)])
    assert sweep.search.method is method
    assert callable(load(method.target))
    target = method.attribution(sweep.search)
    assert target is None or callable(load(target))
    assert method.word == method.title == word
    assert sweep.num_trials > 1
    assert all(line == line.strip() for line in method.lines(sweep))


def test_a_sweep_without_a_searcher_has_a_method_too(sweep_file: Path) -> None:
    search = read_sweep(sweep_file, ["search={subsets: {classes: [building, pole], take: leave_one_out}}"]).search
    assert search.method is LISTED
    target = search.method.attribution(search)
    assert target is not None and callable(load(target))
    assert read_sweep(sweep_file).search.method is LISTED


def test_a_plain_searcher_is_one_file_and_one_line(
    tmp_path: Path, sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "walking.py").write_text(WALK)
    monkeypatch.syspath_prepend(tmp_path)
    line: Method = Points("walk", "walking:Walk")
    monkeypatch.setitem(METHODS, "walk", line)
    monkeypatch.setitem(dict_of_the_door(), "walk", BuiltIn(line.target, line.parameters))
    words = ["search={searcher: walk, num_trials: 3, space: {train.lr: {uniform: [0.5, 1.0]}}}"]
    sweep = read_sweep(sweep_file, words)
    assert sweep.search.method.title == "walk"
    assert Proposing(sweep.search, list).suggest("q") == {"train.lr": 0.5}
    assert Proposing(sweep.search, lambda: [({"train.lr": 0.5}, None)]).suggest("q") == {"train.lr": 0.75}
    sys.modules.pop("walking", None)


def dict_of_the_door() -> dict[str, BuiltIn]:
    built_in = SearcherName.door.built_in
    assert isinstance(built_in, dict)
    return built_in


def test_nobody_asks_for_a_searcher_by_its_word() -> None:
    words = "|".join(METHODS)
    asked = re.compile(rf"searcher(\.name)? (==|!=|in|not in) |method(\.word)? (==|!=) |(==|!=|in \() ?\"({words})\"")
    allowed = {PACKAGE / "semantics" / "placebo.py", PACKAGE / "semantics" / "arms.py"}  # the placebo `random`
    for path in sorted(set(PACKAGE.rglob("*.py")) - allowed):
        for number, text in enumerate(path.read_text().splitlines(), 1):
            assert not asked.search(text), f"{path}:{number}: {text.strip()}"
