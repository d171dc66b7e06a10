"""Whatever answers the questions of a data set, files or what is in memory: one evaluation, one protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vprdist.data.layouts.msls import read_city
from vprdist.errors import DataError, UserError
from vprdist.evaluation.descriptor_files import part_of
from vprdist.evaluation.measure import Measured, check_foreign, from_arrays, from_files, from_predictions, measure
from vprdist.evaluation.predictions import write_predictions
from vprdist.spec.data import DataSpec
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import SIDES


@pytest.fixture
def trial(small_tree: Path) -> TrialSpec:
    data = DataSpec(root=str(small_tree), train=(), validate_cities=("ada", "bob"))
    return TrialSpec(data=data, evaluate=EvaluateSpec(gallery="merged"))


def made(tree: Path, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By side the keys and made-up descriptors of both cities."""
    rng = np.random.default_rng(seed)
    sides = [side for city in ("ada", "bob") for side in read_city(tree, city).sides]
    keys = {name: np.concatenate([each.keys for each in sides if each.side == name]) for name in SIDES}
    return {name: (some, rng.normal(size=(len(some), 6))) for name, some in keys.items()}


def told(found: Measured) -> tuple[object, ...]:
    return found.evaluation.metrics, found.evaluation.ranking.predictions, found.protocol, found.notes


def test_arrays_files_and_what_was_retrieved_by_them_give_one_evaluation(trial, small_tree, tmp_path):
    arrays = made(small_tree)
    for name, (keys, values) in arrays.items():
        np.savez(tmp_path / f"{name}.npz", keys=keys, descriptors=values)
    by_files = measure(trial, from_files([tmp_path / "query.npz", tmp_path / "database.npz"]))
    by_arrays = measure(trial, from_arrays([part_of(name, *each) for name, each in arrays.items()]))
    assert told(by_arrays) == told(by_files)
    assert by_files.protocol.image_size is None and set(by_files.evaluation.subtasks) >= {"all"}
    rows = [row for some in by_files.evaluation.ranking.predictions.values() for row in some]
    write_predictions(tmp_path / "found.txt", rows)
    for given in (tmp_path / "found.txt", dict(rows)):
        again = measure(trial, from_predictions(given))
        assert told(again) == told(by_files) and set(again.evaluation.subtasks) == {"all"}


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        (["a", "b"], np.zeros((3, 2)), "there must be a key for each of the 3 descriptors; found (2,)"),
        (["a"], np.zeros(3), r"descriptors must be an array \(N, D\) of floats; found 'float64 \(3,\)'"),
        (["a"], np.zeros((1, 2), int), r"descriptors must be an array \(N, D\) of floats"),
        ([None], np.zeros((1, 2)), "`keys` must be texts; they are object"),
        (["a"], [[1.0], [2.0, 3.0]], "numpy cannot make arrays of them"),
    ],
)
def test_arrays_that_are_no_descriptors_are_refused(keys, values, message):
    with pytest.raises(DataError, match=message.replace("(2,)", r"\(2,\)")):
        part_of("queries", keys, values)


def test_what_arrays_lack_is_named(trial, small_tree):
    arrays = made(small_tree)
    keys, values = arrays["query"]
    with pytest.raises(DataError, match="queries: pictures that take part have no descriptor"):
        measure(trial, from_arrays([part_of("queries", keys, values)]))
    spoilt = values.copy()
    spoilt[0, 0] = np.nan
    parts = [part_of("queries", keys, spoilt), part_of("database", *arrays["database"])]
    with pytest.raises(DataError, match=rf"queries: row 0 \({keys[0]}\): descriptors must be finite numbers"):
        measure(trial, from_arrays(parts))
    with pytest.raises(UserError, match="queries that count have no line"):
        measure(trial, from_predictions({str(keys[0]): [str(arrays["database"][0][0])]}))


def test_what_files_cannot_be_asked_is_refused(trial, tmp_path):
    def under(**more: object) -> TrialSpec:
        return trial.model_copy(update={"evaluate": EvaluateSpec(**more)})

    with pytest.raises(UserError, match=r"^whitening: files have no training images"):
        check_foreign(under(whitening="train"), from_files([tmp_path / "a.npz"]), str, "a.npz")
    with pytest.raises(UserError, match=r"a.txt: a file of predictions has no descriptors. Leave out whitening"):
        check_foreign(under(storage="float16"), from_predictions(tmp_path / "a.txt"), str, "a.txt")
