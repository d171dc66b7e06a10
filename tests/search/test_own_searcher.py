"""A user's own searcher, in a file of its own: it drives a search, is told everything, comes back, and may be wrong."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
from searching import drive, journal, recall, resolve, spec, start
from subsetting import proposals as subset_proposals

from vprdist.errors import OwnCodeError, SweepFileError, UserError
from vprdist.search.proposing import Proposing, Told, check_proposer
from vprdist.search.searcher import Replay
from vprdist.spec.sweep_file import read_sweep
from vprdist.store.manifest import resolved_file
from vprdist.store.proposals import Proposals
from vprdist.store.trial_folder import TrialFolder

HALTON = '''
class Halton:
    """The radical inverses of 1, 2, 3, …; every fourth question repeats the answer before it."""

    def __init__(self, space, seed, base: int = 2):
        (self.axis, self.range), = space.items()
        self.base = base

    def propose(self, told):
        index = len(told) + 1
        if index % 4 == 0:
            return told[-1][0]
        share, inverse = 1.0, 0.0
        while index:
            share /= self.base
            inverse += share * (index % self.base)
            index //= self.base
        return {self.axis: self.range.low + inverse * (self.range.high - self.range.low)}
'''
SPACE = {"train.lr": {"kind": "uniform", "low": 0.001, "high": 0.1}}
TWO = {"train.lr": {"kind": "uniform", "low": 0.001, "high": 0.1}, "train.loss.margin": {"values": [0.5, 0.9]}}


@pytest.fixture(autouse=True)
def _searching_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (here, here.parent / "launch", here.parents[1]))))


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def search_with(searcher: Any, space: dict[str, Any] = SPACE, num_trials: int = 6) -> dict[str, Any]:
    return {"space": space, "searcher": searcher, "num_trials": num_trials}


def inverses(count: int, base: int) -> list[float]:
    """Rates in their order, by digits."""
    out: list[float] = []
    for index in range(1, count + 1):
        digits = []
        rest = index
        while rest:
            digits.append(rest % base)
            rest //= base
        inverse = sum(digit * base ** -(place + 1) for place, digit in enumerate(digits))
        out.append(out[-1] if index % 4 == 0 else 0.001 + inverse * (0.1 - 0.001))
    return out


def test_a_killed_search_by_a_users_class_goes_on_as_if_it_had_not_been_killed(tmp_path: Path) -> None:
    path, runs = write(tmp_path, HALTON), tmp_path / "runs"
    search = search_with({"name": f"{path}:Halton", "base": 3})
    driver = start(runs, search)
    deadline = time.monotonic() + 240
    while len(list((runs / "trials").glob("*/result.json"))) < 2:
        assert driver.poll() is None and time.monotonic() < deadline, driver.communicate()[0]
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    early = journal(runs)
    output = start(runs, search).communicate(timeout=400)[0]
    assert "results 6 failures 0 stopped 0" in output, output
    rows = journal(runs)
    assert rows[: len(early)] == early
    rates = [row["point"]["train.lr"] for row in rows]
    assert rates == pytest.approx(inverses(len(rows), base=3)), "each point hangs on how many were told, and is told"
    assert len({row["trial"] for row in rows}) == 6, "what was proposed twice is one trial"
    assert {len(TrialFolder(path).starts()) for path in (runs / "trials").iterdir()} == {1}
    # The third run has nothing to do: neither Ray nor the class is needed.
    path.unlink()
    write(tmp_path, HALTON.replace("def __init__", "def __init__(self, space, seed, base: int): pass\n    def other"))
    assert "results 6" in start(runs, search).communicate(timeout=120)[0]


ECHO = """
class Echo:
    def __init__(self, space, seed):
        self.points = [{"train.lr": lr, "train.loss.margin": m} for lr in (0.01, 0.001, 0.002) for m in (0.5, 0.9)]

    def propose(self, told):
        return self.points[len(told)] if len(told) < len(self.points) else None
"""


def proposing(tmp_path: Path, text: str, space: dict[str, Any], told: list[Told] | None = None) -> Proposing:
    path = write(tmp_path, text)
    name = text.partition("class ")[2].partition(":")[0]
    return Proposing(spec(search_with(f"{path}:{name}", space)), lambda: told or [])


def test_it_is_told_what_is_over_failed_refused_and_still_to_come(tmp_path: Path) -> None:
    path = write(tmp_path, ECHO)
    search = spec(search_with(f"{path}:Echo", TWO, num_trials=9))
    memory = Proposals(tmp_path / "proposals.jsonl", resolve, "recall@1")
    values: dict[str, float] = {}

    def told() -> list[Told]:
        ids = [resolve_or_none(point) for point in memory.asked]
        return [(p, math.nan if i is None else values.get(i)) for p, i in zip(memory.asked, ids, strict=True)]

    inner = Proposing(search, told)
    replay = Replay(memory, inner, search, "recall@1", {}, {})
    issued = [replay.suggest(f"t{i}") for i in range(4)]
    assert [row["point"]["train.loss.margin"] for row in read(tmp_path)] == [0.5, 0.9, 0.5, 0.9, 0.5], "one is no trial"
    assert [row["kind"] for row in read(tmp_path)] == ["proposed"] * 3 + ["refused", "proposed"]
    values[issued[0]["trial_id"]] = recall(0.01)
    assert [value for _, value in told()][:3] == [recall(0.01), None, None]
    assert math.isnan(told()[3][1] or 0)
    assert replay.suggest("t4")["trial_id"] == resolve({"train.lr": 0.002, "train.loss.margin": 0.9}).trial_id
    assert replay.suggest("t5") is None, "it says no more while some run: it may say more when they are over"
    for name in ("t0", "t1", "t2", "t3", "t4"):
        replay.on_trial_complete(name, {"recall@1": 0.5})
    assert replay.suggest("t5") == "FINISHED"


def resolve_or_none(point: dict[str, Any]) -> str | None:
    try:
        return resolve(point).trial_id
    except SweepFileError:
        return None


def read(folder: Path) -> list[dict[str, Any]]:
    from vprdist.files import read_json_lines

    return read_json_lines(folder / "proposals.jsonl")[0]


def test_a_repeated_point_is_told_again_after_a_restart_too(tmp_path: Path) -> None:
    memory = Proposals(tmp_path / "proposals.jsonl", resolve, "recall@1")
    for lr in (0.01, 0.01, 0.02):
        memory.propose({"train.lr": lr}, repeats=True)
    again = Proposals(tmp_path / "proposals.jsonl", resolve, "recall@1")
    again.read()
    assert [point["train.lr"] for point in again.asked] == [0.01, 0.01, 0.02]
    assert [known.point["train.lr"] for known in again.known] == [0.01, 0.02]


def returning(what: str) -> str:
    made = "class Mine:\n    def __init__(self, space, seed): pass\n"
    return f"{made}\n    def propose(self, told):\n        return {what}\n"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("3", ("Mine.propose returned no point: 3", "a mapping of train.lr, train.loss.margin to values, or None")),
        ("{'train.lr': 0.01}", ("returned a point without train.loss.margin", "Give every axis")),
        ("{'train.lr': 0.01, 'train.loss.margin': 0.5, 'train.rl': 1}",
         ("an axis that the space lacks: 'train.rl'", "Did you mean 'train.lr'?")),
        ("{'train.lr': 1, 'train.loss.margin': 0.5}",
         ("a value outside of the axis train.lr: 1", "Return a number from 0.001 to 0.1")),
        ("{'train.lr': float('nan'), 'train.loss.margin': 0.5}", ("outside of the axis train.lr: nan",)),
        ("{'train.lr': '0.01', 'train.loss.margin': 0.5}", ("outside of the axis train.lr: '0.01'",)),
        ("{'train.lr': True, 'train.loss.margin': 0.5}", ("outside of the axis train.lr: True",)),
        ("{'train.lr': 0.01, 'train.loss.margin': 0.6}",
         ("outside of the axis train.loss.margin: 0.6", "Return one of 0.5, 0.9")),
        ("{'train.lr': 0.01, 'train.loss.margin': object}",
         ("outside of the axis train.loss.margin: <class 'object'>",)),
        ("1 / 0", ("mine.py:5", "ZeroDivisionError: division by zero")),
        ("open('nosuch.txt')", ("mine.py:5", "FileNotFoundError", "nosuch.txt")),
    ],
)  # fmt: skip
def test_what_is_no_point_of_the_space_is_one_message_with_its_file(
    tmp_path: Path, what: str, said: tuple[str, ...]
) -> None:
    with pytest.raises(OwnCodeError) as error:
        proposing(tmp_path, returning(what), TWO).suggest("q")
    for part in (f"{tmp_path / 'mine.py'}:", *said):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Mine:\n    def __init__(self, space, seed): raise ValueError('no')\n", ("mine.py:2", "ValueError: no")),
        ("class Mine:\n    def __init__(self, space, seed): open('nosuch.txt')\n", ("mine.py:2", "FileNotFoundError")),
        ("import sys\nsys.exit(3)\nclass Mine: pass\n", ("mine.py:2", "SystemExit: 3")),
        ("import nothing_like_it\nclass Mine: pass\n", ("mine.py:1", "ModuleNotFoundError")),
        ("class Mine:\n    def __init__(self, space): pass\n", ("mine.py:1", "'seed'")),
        ("class Mine:\n    def __init__(self, space, seed): pass\n", ("mine.py:1", "Mine has no method propose")),
    ],
)
def test_a_class_that_cannot_be_made_is_said_before_anything_starts(
    tmp_path: Path, text: str, said: tuple[str, ...]
) -> None:
    search = spec(search_with(f"{write(tmp_path, text)}:Mine", TWO))
    with pytest.raises(UserError) as error:
        check_proposer(search)
    for part in said:
        assert part in str(error.value)


def test_numbers_of_numpy_and_lists_are_plain_values_in_the_journal(tmp_path: Path) -> None:
    space = {
        "train.lr": {"kind": "uniform", "low": 0.0, "high": 1.0},
        "train.steps": {"kind": "randint", "low": 1, "high": 9},
        "train.image_size": {"values": [[64, 48], [96, 64]]}, "train.balanced": {"values": [False, True]},
    }  # fmt: skip
    point = "{'train.lr': np.float32(0.5), 'train.steps': np.int64(3), 'train.image_size': (96, 64), "
    inner = proposing(tmp_path, "import numpy as np\n" + returning(point + "'train.balanced': np.bool_(True)}"), space)
    values = inner.suggest("q")
    assert values == {"train.lr": 0.5, "train.steps": 3, "train.image_size": 1, "train.balanced": 1}
    assert values is not None
    assert [type(value) for value in values.values()] == [float, int, int, int]


CLIMB = """
class Climb:
    def __init__(self, space, seed):
        pass

    def propose(self, told):
        if any(value is None for _, value in told):
            return None
        if not told:
            return {"train.lr": 0.1}
        best = max(told, key=lambda each: each[1])[0]["train.lr"]
        return {"train.lr": best / 2 if best == told[-1][0]["train.lr"] else best * 0.9}
"""


@pytest.mark.drill  # what it is told while trials run is asked without Ray above
def test_one_that_waits_for_values_is_asked_again_when_they_are_there(tmp_path: Path) -> None:
    outcome = drive(tmp_path / "runs", spec(search_with(f"{write(tmp_path, CLIMB)}:Climb")))
    rates = [row["point"]["train.lr"] for row in journal(tmp_path / "runs")]
    expected = [0.1]
    for _ in range(5):
        best = max(expected, key=recall)
        expected.append(best / 2 if best == expected[-1] else best * 0.9)
    assert rates == pytest.approx(expected)
    assert len(outcome.results) == 6


def test_an_error_in_the_middle_ends_the_search_with_its_message(tmp_path: Path) -> None:
    text = HALTON.replace("index = len(told) + 1\n", "index = len(told) + 1\n        assert index < 3, 'enough'\n")
    path = write(tmp_path, text)
    with pytest.raises(OwnCodeError, match=r"mine\.py:11: AssertionError: enough"):
        drive(tmp_path / "runs", spec(search_with(f"{path}:Halton")))
    assert [row["kind"] for row in journal(tmp_path / "runs")] == ["proposed"] * 2


SWEEP = """
trial: {input: {mode: masked}}
search:
  searcher: mine.py:Halton
  num_trials: 3
  space: {train.lr: {loguniform: [0.01, 1.0]}}
"""


def sweep_file(tmp_path: Path) -> Path:
    write(tmp_path, HALTON)
    (tmp_path / "mine.yaml").write_text(SWEEP)
    return tmp_path / "mine.yaml"


def test_a_sweep_file_names_it_by_a_path_from_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = read_sweep(sweep_file(tmp_path))
    assert sweep.search.searcher is not None
    assert sweep.search.searcher.name == f"{tmp_path / 'mine.py'}:Halton"
    assert sweep.search.searcher.parameters == {"base": 2}
    (tmp_path / "again").mkdir()
    import yaml

    again = tmp_path / "again" / "sweep.yaml"
    again.write_text(yaml.safe_dump(resolved_file(sweep)))
    assert read_sweep(again).search == sweep.search, "the sweep's own copy of its file says the same from elsewhere"
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere", HALTON.replace("Halton", "Other"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    words = ["search.searcher={name: mine.py:Other, base: 3}"]
    other = read_sweep(tmp_path / "mine.yaml", words).search.searcher
    assert other is not None
    assert (other.name, other.parameters) == (f"{tmp_path / 'elsewhere' / 'mine.py'}:Other", {"base": 3})


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("haltom", ("no such searcher: 'haltom'", "Valid: random, optuna", "path/file.py:Name")),
        ("FOLDER/nosuch.py:Halton", ("no such file", "nosuch.py")),
        ("FOLDER/mine.py:Haltom", ("mine.py has no class Haltom", "Did you mean 'Halton'?")),
        ("{name: FOLDER/mine.py:Halton, bose: 3}", ("has no parameter 'bose'", "Did you mean 'base'?")),
        ("{name: FOLDER/mine.py:Halton, base: two}", ("needs base: int; found 'two'",)),
        ("{name: FOLDER/mine.py:Halton, seed: 3}", ("is given seed by vprdist",)),
        ("{name: optuna, base: 3}", ("unknown key",)),
    ],
)
def test_what_a_sweep_file_says_of_it_is_checked_without_running_it(
    tmp_path: Path, word: str, said: tuple[str, ...]
) -> None:
    file = sweep_file(tmp_path)
    write(tmp_path, "raise SystemExit('it is run')\n" + HALTON)
    with pytest.raises(SweepFileError) as error:
        read_sweep(file, [f"search.searcher={word.replace('FOLDER', str(tmp_path))}"])
    for part in ("search.searcher", *said):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search.num_trials=null"], "search.num_trials: a searcher must be told how many trials to propose"),
        (["seeds=[0, 1]"], "a searcher must have one seed a point"),
        (["search.space={}"], "a space and a searcher must go together"),
    ],
)
def test_it_is_held_to_the_rules_of_every_searcher_of_points(tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(SweepFileError) as error:
        read_sweep(sweep_file(tmp_path), words)
    assert said in str(error.value)


PLAYERS = """
class Players:
    def __init__(self, space, seed):
        self.space = space

    def propose(self, told):
        assert all(set(point) == set(self.space) for point, _ in told)
        count = len(told) + 1
        return {axis: bool(count >> i & 1) for i, axis in enumerate(self.space)} if count < 4 else None
"""


def test_with_subsets_it_says_of_every_player_whether_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "game.yaml").write_text("trial: {input: {mode: masked}}\n")
    path = write(tmp_path, PLAYERS)
    words = [f"search={{searcher: '{path}:Players', num_trials: 5, subsets: {{classes: [building, sky]}}}}"]
    sweep = read_sweep(tmp_path / "game.yaml", words)
    assert list(sweep.search.domains) == ["player building", "player sky"]
    memory = subset_proposals(sweep, tmp_path / "runs")
    inner = Proposing(sweep.search, lambda: [(point, None) for point in memory.asked])
    replay = Replay(memory, inner, sweep.search, "recall@1", {}, {})
    assert all(isinstance(replay.suggest(f"t{i}"), dict) for i in range(3))
    assert [known.point["input.classes"] for known in memory.known] == [["building"], ["sky"], ["building", "sky"]]
