"""Several data sets in one trial: each is evaluated as if it were alone, and has its own protocol and its own block."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.training.making import make_trial, run_here
from tests.worlds import write_city, write_small_tree
from vprdist.cli import main
from vprdist.data.layouts import City, dataset_digest, layout_of, open_layout
from vprdist.errors import DataError, UserError
from vprdist.files import write_json
from vprdist.prepare.checks import check_data
from vprdist.report.evidence import weigh
from vprdist.report.leaderboard import markdown
from vprdist.report.rows import group_rows
from vprdist.spec.data import DataSpec
from vprdist.spec.doors import LayoutName
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.read import Origin, validate
from vprdist.spec.result import ResultRow
from vprdist.spec.shares import share_counts
from vprdist.spec.trial import TrialSpec
from vprdist.store.queries import asked_path, read_queries
from vprdist.store.trial_folder import TrialFolder
from vprdist.training import run


class Died(BaseException):
    """Stands for a kill."""


MIXED = LayoutName.of("mixed", sets={"old": {"folder": "first"}, "new": {}})
OTHERWISE = {"no_positives": "count", "positive_radius_m": 12.0, "queries": "every"}


@pytest.fixture
def two_trees(tmp_path):
    """`first` with ada and bob, `new` with a bob of its own, of whose queries two are far from everything."""
    write_small_tree(tmp_path / "first")
    write_city(tmp_path / "new", "ada", num_query=6, num_database=9, seed=11)
    write_city(tmp_path / "new", "bob", num_query=9, num_database=13, seed=12)
    path = tmp_path / "new" / "train_val" / "bob" / "query" / "postprocessed.csv"
    lines = path.read_text().splitlines()
    far = [",".join([*line.split(",")[:2], "900000", *line.split(",")[3:]]) for line in lines[-2:]]
    path.write_text("\n".join([*lines[:-2], *far]) + "\n")
    return tmp_path


def trial_on(data: DataSpec, **evaluate: object) -> TrialSpec:
    base = (
        make_trial(Path(data.root) / "first", steps=0) if data.layout == MIXED else make_trial(Path(data.root), steps=0)
    )
    spec = validate(EvaluateSpec, {"whitening": "database", "dimensions": [3], **evaluate}, Origin(Path("here")))
    trial = base.model_copy(update={"data": data, "evaluate": spec})
    digests = trial.digests.model_copy(update={"dataset": dataset_digest(data, (*data.train, *data.validate_cities))})
    return TrialSpec.model_validate(trial.model_copy(update={"digests": digests}).to_json(), strict=False)


def test_each_set_is_evaluated_as_if_it_were_alone(two_trees, tmp_path):
    data = DataSpec(
        root=str(two_trees), layout=MIXED, train=("old.ada",), validate_cities=("old.bob", "new.bob", "new.ada")
    )
    trial = trial_on(data, of_set={"new": OTHERWISE})
    runs = tmp_path / "runs"
    row = run_here(trial, TrialFolder.of(runs, trial.trial_id).path)

    def alone(folder: str, cities: tuple[str, ...], radius_m: float = 25.0, **evaluate: object) -> ResultRow:
        own = DataSpec(root=str(two_trees / folder), train=(), validate_cities=cities, positive_radius_m=radius_m)
        return run_here(trial_on(own, **evaluate), tmp_path / f"alone-{folder}")

    old = alone("first", ("bob",))
    new = alone("new", ("bob", "ada"), 12.0, no_positives="count", queries="every")
    (other,) = row.others
    assert other.data_set == "new" and row.data_set == ""
    for ours, theirs in ((row, old), (other, new)):
        assert ours.metrics == theirs.metrics
        assert [each.metrics for each in ours.variants] == [each.metrics for each in theirs.variants] != []
        assert {name.partition(".")[2]: each for name, each in ours.city_metrics.items()} == theirs.city_metrics
        same = theirs.protocol.model_dump() | {"dataset": ours.protocol.dataset, "cities": ours.protocol.cities}
        assert ours.protocol.model_dump() == same
    assert other.protocol.num_queries == 15 and "those without a positive count as misses" in other.protocol.summary
    assert other.metrics["recall@20"] < 1, "two queries cannot be answered"
    names = sorted(path.name for path in TrialFolder.of(runs, trial.trial_id).predictions.glob("*.txt"))
    assert names == ["new.ada.txt", "new.bob.txt", "old.bob.txt"]

    rows = group_rows([row], {trial.trial_id: "rgb"}, "recall@5")
    blocks = weigh(rows, "recall@5", lambda asked: read_queries(asked_path(runs, asked)), {}, lambda protocol: None)
    assert [block.protocol for block in blocks][:2] == [row.protocol, other.protocol]
    assert all(block.standings[0].paired for block in blocks[:2]), "each block has intervals of its own queries"
    table = markdown(blocks, "mixed")
    assert "positives within 12 m" in table and "positives within 25 m" in table


def test_sets_are_trained_on_together_by_shares(two_trees, tmp_path):
    data = DataSpec(
        root=str(two_trees), layout=MIXED, train=("old.ada", "new.ada"), validate_cities=("old.bob",),
        shares={"old": 1.0, "new": 3.0},
    )  # fmt: skip
    base = trial_on(data)
    trial = base.model_copy(update={"train": make_trial(two_trees / "first").train.resolved()})
    row = run_here(trial, tmp_path / "run")
    assert row.steps == 6 and row.others == ()
    without = trial.model_copy(update={"data": data.model_copy(update={"shares": {}})})
    assert without.trial_id != trial.trial_id, "other shares are another experiment"


def test_a_city_of_a_set_is_that_citys(two_trees):
    mixed, alone = open_layout(two_trees, MIXED), open_layout(two_trees / "new")
    assert mixed.names() == ["old.ada", "old.bob", "new.ada", "new.bob"]
    one, other = mixed.read("new.bob"), alone.read("bob")
    assert isinstance(one, City) and {side.city for side in one.sides} == {one.name} == {"new.bob"}
    for ours, theirs in zip(one.sides, other.sides, strict=True):
        assert list(ours.paths) == list(theirs.paths) and (ours.keys == theirs.keys).all()
        assert (ours.positions == theirs.positions).all()
    assert mixed.digest("new.bob") == alone.digest("bob") != mixed.digest("old.bob")
    assert mixed.folders == [two_trees / "first", two_trees / "new"]
    mixed.check(one, whole=True)
    one.query.image_path(3).unlink()
    with pytest.raises(DataError, match="missing"):
        mixed.check(one)


def test_where_the_sets_lie_is_not_hashed(two_trees):
    moved = LayoutName.of("mixed", sets={"old": {"folder": "/elsewhere/first"}, "new": {"folder": "second"}})
    assert moved.hashed() == MIXED.hashed() != LayoutName.of("mixed", sets={"old": {}, "newer": {}}).hashed()


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ({}, "a data set is missing"),
        ({"a.b": {}}, "must be a word without"),
        ({"a": {"layuot": "msls"}}, r"layout\.sets\.a\.layuot: unknown key"),
        ({"a": "first"}, r"layout\.sets\.a: this must be a mapping"),
        ({"a": {"layout": {"name": "frames", "nosuch": 1}}}, r"layout\.sets\.a\.layout\.nosuch: unknown key"),
        ({"a": {"layout": "mixed"}}, "must have another built-in layout"),
        ({"a": {"layout": "nosuch"}}, "must have another built-in layout"),
        ({"a": {"layout": "own.py:Walk"}}, "must have another built-in layout"),
    ],
)
def test_sets_that_are_none_are_refused(sets, told):
    with pytest.raises(UserError, match=told):
        validate(DataSpec, {"root": "/data", "layout": {"name": "mixed", "sets": sets}}, Origin(Path("mine.yaml")))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"evaluate": {"of_set": {"nwe": {"gallery": "merged"}}}}, "must be one of trial.data.validate"),
        ({"evaluate": {"of_set": {"new": {"galery": "merged"}}}}, "unknown key"),
        ({"evaluate": {"queries": "every", "of_set": {"new": {"subtask": "d2n"}}}}, "of_set.new.queries"),
        ({"data": {"validate": ["old.bob", "bob"]}}, r"validate\.1: a city of the layout mixed must be called by its"),
        ({"data": {"train": ["nwe.ada"]}}, r"train\.0: .*found 'nwe\.ada'\. Did you mean 'new'"),
        ({"data": {"validate": ["old."]}}, "must be called by its data set"),
        (
            {"data": {"layout": "msls", "train": ["a"], "validate": ["b"]}, "evaluate": {"of_set": {"new": {}}}},
            r"of_set: only the layout mixed has data sets that can be evaluated otherwise: 'msls'",
        ),
        (
            {"data": {"shares": {"old": 1e-9, "new": 1.0}}},
            r"shares\.old: each share of training must draw a query of every chunk of 10000, and this draws none",
        ),
        ({"data": {"shares": {"nwe": 1.0}}}, "a share must be of a training city; found 'nwe'"),
        ({"data": {"shares": {"old": 1.0}}}, "new.ada must be of one share"),
        ({"data": {"shares": {"old": 1.0, "new": 1.0, "new.ada": 2.0}}}, "new.ada must be of one share"),
        ({"data": {"shares": {"old": 1.0, "new": 0.0}}}, "shares.new"),
    ],
)
def test_what_no_set_can_be_asked_is_refused(changes, told):
    data = {
        "root": "/data", "layout": json.loads(MIXED.model_dump_json()), "train": ["old.ada", "new.ada"],
        "validate": ["old.bob", "new.bob"],
    }  # fmt: skip
    values = {"data": {**data, **changes.get("data", {})}, "evaluate": changes.get("evaluate", {})}
    with pytest.raises(UserError, match=told):
        validate(TrialSpec, values, Origin(Path("mine.yaml")))


def test_shares_count_by_their_ratios_alone():
    for scale in (1e307, 5e-320, 1.0):
        assert share_counts([3 * scale, scale], 40) == [30, 10]
    for seed in range(50):
        rng = np.random.default_rng(seed)
        shares, total = rng.integers(1, 9, rng.integers(1, 6)).tolist(), int(rng.integers(1, 60))
        counts, exact = share_counts(shares, total), [Fraction(total * each, sum(shares)) for each in shares]
        assert sum(counts) == total and all(abs(a - b) < 1 for a, b in zip(counts, exact, strict=True))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"evaluate": {"of_set": {"new": {"subtask": "rain"}}}}, r"of_set\.new\.subtask: .*must be one of MSLS'"),
        ({"evaluate": {"of_set": {"old": {"subtask": "d2n"}}}}, r"of_set\.old\.subtask: .*needs queries of subtask"),
        ({"evaluate": {"of_set": {"new": {"positive_radius_m": 1e-9}}}}, r"of_set\.new: .*needs queries"),
        ({"evaluate": {"subtask": "rain"}}, r"trial\.evaluate\.subtask: .*found 'rain'"),
        (
            {"layout": {"sets": {"old": {"folder": "first"}, "new": {"folder": "gone"}}}},
            r"layout\.sets\.new: .*/gone: ",
        ),
    ],
)
def test_what_is_wrong_with_one_set_is_told_by_its_key_before_anything_starts(two_trees, changes, key):
    layout = {"name": "mixed", **changes.get("layout", {"sets": MIXED.parameters["sets"]})}
    data = {"root": str(two_trees), "layout": layout, "train": ["old.ada"], "validate": ["old.bob", "new.bob"]}
    values = {"data": data, "evaluate": changes.get("evaluate", {})}
    trial = validate(TrialSpec, values, Origin(Path("mine.yaml")))
    with pytest.raises(UserError, match=key):
        check_data(trial)


def test_too_few_pictures_for_whitening_in_a_later_set_are_told_before_training(two_trees, tmp_path):
    write_city(two_trees / "new", "cy", num_query=4, num_database=3, seed=13)
    data = DataSpec(root=str(two_trees), layout=MIXED, train=("old.ada",), validate_cities=("old.bob", "new.cy"))
    trial = trial_on(data, dimensions=[5]).model_copy(update={"train": make_trial(two_trees / "first").train})
    with pytest.raises(UserError, match="whitening to 5 dimensions must be learnt on more images than that; found 3"):
        run_here(trial, tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoint/*")), "nothing was trained"


def test_a_trial_of_sets_is_asked_otherwise_on_the_command_line(two_trees, tmp_path, capsys):
    data = DataSpec(
        root=str(two_trees), layout=MIXED, train=("old.ada", "new.ada"), validate_cities=("old.bob", "new.bob"),
        shares={"old": 1.0, "new": 1.0},
    )  # fmt: skip
    trial = trial_on(data, whitening="none", dimensions=[], of_set={"new": OTHERWISE})
    folder = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    write_json(folder.trial_file, trial.to_json())
    run_here(trial, folder.path)

    def asked(*words: str) -> str:
        code = main(["evaluate", str(folder.path), *words])
        out = capsys.readouterr()
        return out.out if code == 0 else out.err

    assert "of_set.new.queries: subtask d2n chooses the queries" in asked("--subtask", "d2n")
    assert "old.bob, subtask all" in asked("--cities", "old.bob")
    alone = asked("--data", str(two_trees / "new"), "--layout", "msls", "--cities", "bob")
    assert "bob, subtask all, 7 queries" in alone, "the sets of the trial say nothing of another data set"


def test_an_unknown_set_is_named(two_trees):
    with pytest.raises(DataError, match=r"must be called set\.city; found 'bob'"):
        open_layout(two_trees, MIXED).read("bob")
    data = DataSpec(root=str(two_trees), layout=MIXED, validate_cities=("old.bob",))
    with pytest.raises(DataError, match="no such city"):
        layout_of(data).read("old.nosuch")


def test_what_stops_in_a_later_set_is_gone_on_with_to_the_same_result(two_trees, tmp_path, monkeypatch):
    data = DataSpec(
        root=str(two_trees), layout=MIXED, train=("old.ada", "new.ada"), validate_cities=("old.bob", "new.bob"),
        shares={"old": 1.0, "new": 3.0},
    )  # fmt: skip
    trial = trial_on(data, of_set={"new": OTHERWISE})
    trial = trial.model_copy(update={"train": make_trial(two_trees / "first").train})
    whole, cut, real = tmp_path / "whole", tmp_path / "cut", run.evaluate

    def dies(network: object, own: TrialSpec, *args: object, **more: object) -> object:
        if own.data.validate_cities == ("new.bob",):
            raise Died
        return real(network, own, *args, **more)

    monkeypatch.setattr(run, "evaluate", dies)
    with pytest.raises(Died):
        run_here(trial, cut)
    assert not (cut / "result.json").exists(), "the first set alone is no result"
    monkeypatch.undo()
    one, other = run_here(trial, whole), run_here(trial, cut)
    for name in ("metrics", "untrained", "others", "variants", "city_metrics", "protocol", "steps", "final_loss"):
        assert getattr(one, name) == getattr(other, name), name
    for path in (whole / "predictions").iterdir():
        assert path.read_bytes() == (cut / "predictions" / path.name).read_bytes(), path.name


def test_two_ranks_measure_every_set_as_one_does(two_trees, tmp_path, two_ranks):
    data = DataSpec(
        root=str(two_trees), layout=MIXED, train=("old.ada", "new.ada"), validate_cities=("old.bob", "new.bob")
    )
    trial = trial_on(data, of_set={"new": OTHERWISE})
    alone = run_here(trial, tmp_path / "alone")
    two_ranks.run((trial, tmp_path / "two"))
    both = ResultRow.model_validate_json((tmp_path / "two" / "result.json").read_text())
    assert both.num_ranks == 2 and both.metrics == alone.metrics and both.others == alone.others
