"""PCA whitening: against the definition, written out; which images it is learnt on; what a result row says of it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.wild import wild_cities
from vprdist.data.tasks import build_tasks, prediction_task
from vprdist.errors import UserError
from vprdist.evaluation import evaluate as room
from vprdist.evaluation import whitening
from vprdist.evaluation.descriptors import Descriptors, places_of
from vprdist.evaluation.evaluate import (
    NOTHING,
    Extra,
    assess,
    check_whitening,
    describe_protocol,
    learning_rows,
    wanted_rows,
)
from vprdist.evaluation.ranking import rank
from vprdist.evaluation.whitening import check_dimensions, learn
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.trial import TrialSpec

CITIES = wild_cities(3, ("uno", "dos", "tres"))


def stretched(rng, count, dimensions=12):
    values = rng.normal(size=(count, dimensions)) * np.linspace(0.2, 3, dimensions) + 1
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def slow_pca(learnt, values, dimensions):
    """Projections on the eigenvectors of the covariance, each divided by its deviation, to unit length."""
    learnt, values = learnt.astype(np.float64), values.astype(np.float64)
    variances, directions = np.linalg.eigh(np.cov(learnt, rowvar=False))
    order = np.argsort(-variances)[:dimensions]
    out = (values - learnt.mean(axis=0)) @ directions[:, order] / np.sqrt(variances[order])
    return out / np.linalg.norm(out, axis=1, keepdims=True)


@pytest.mark.parametrize("dimensions", [1, 5, 12])
def test_the_definition(monkeypatch, dimensions):
    monkeypatch.setattr(whitening, "BLOCK", 17)
    values = stretched(np.random.default_rng(0), 200)
    rows = np.arange(3, 150, 2)
    found = learn(values, rows, 12).apply(values, dimensions)
    expected = slow_pca(values[rows], values, dimensions)
    assert found.shape == (200, dimensions) and found.dtype == np.float32
    assert np.allclose(found @ found.T, expected @ expected.T, atol=1e-4), "up to the signs of directions"


def test_what_was_learnt_on_is_white():
    values = stretched(np.random.default_rng(0), 5000)
    pca = learn(values, np.arange(5000), 12)
    white = (values - pca.mean_D) @ pca.basis_DE
    # The length of unit vectors leaves no freedom but for a direction that is nearly flat.
    assert np.allclose(np.cov(white, rowvar=False), np.eye(12), atol=1e-6)


def test_flat_directions_are_refused():
    values = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    values[:, 4:] = 0.5
    with pytest.raises(UserError, match=r"as many directions; found 4\. Ask for at most 4 dimensions"):
        learn(values, np.arange(50), 6)
    assert np.abs(learn(values, np.arange(50), 4).apply(values, 4)).max(axis=0).min() > 0.1
    with pytest.raises(UserError, match=r"found 0\. Do not whiten"):
        learn(np.ones((9, 3), np.float32), np.arange(9), 2)


@pytest.mark.parametrize("kind", ["train", "database"])
def test_too_few_images_are_found_before_anything_is_described(kind):
    spec = EvaluateSpec(whitening=kind)
    tasks = build_tasks(CITIES[:2], TrialSpec())
    images = sum(len(rows) for _, rows in learning_rows(spec, tasks, [CITIES[2]]))
    check_whitening(spec, tasks, [CITIES[2]], images - 1)
    with pytest.raises(
        UserError, match=f"whitening to {images} dimensions must be learnt on more images.*found {images}"
    ):
        check_whitening(spec, tasks, [CITIES[2]], images)
    check_whitening(spec.model_copy(update={"dimensions": (3,)}), tasks, [CITIES[2]], images)
    check_whitening(EvaluateSpec(), tasks, [], images)


def test_too_few_images_or_dimensions():
    values = stretched(np.random.default_rng(0), 12)
    with pytest.raises(UserError, match="whitening to 12 dimensions must be learnt on more images than that; found 12"):
        learn(values, np.arange(12), 12)
    with pytest.raises(UserError, match="at most the 12 dimensions of the descriptors; found 13"):
        check_dimensions(EvaluateSpec(whitening="train", dimensions=(4, 13)), 12)


def described(trial, tasks, extra=NOTHING):
    """Seeded descriptors of whatever the evaluation wants."""
    learning = learning_rows(trial.evaluate, tasks, [CITIES[2]])
    wanted = wanted_rows(tasks, learning, extra)
    total = sum(len(rows) for _, rows in wanted)
    return Descriptors(stretched(np.random.default_rng(1), total), places_of(wanted)), learning


@pytest.mark.parametrize("kind", ["train", "database"])
def test_cities_that_are_predicted_are_whitened_as_when_they_alone_are_evaluated(kind):
    """Else a trial's own submission and that of `vprdist evaluate --predict` would differ."""
    trial = TrialSpec(evaluate=EvaluateSpec(whitening=kind, dimensions=(6,)))
    tasks = build_tasks(CITIES[:1], trial)
    predict = [prediction_task(CITIES[1], trial.evaluate)]
    descriptors, learning = described(trial, tasks, Extra(predict=predict))
    beside = assess(descriptors, trial.evaluate, tasks, learning, Extra(predict=predict)).predicted
    on = learning_rows(trial.evaluate, predict, [CITIES[2]])
    assert beside.predictions == assess(descriptors, trial.evaluate, predict, on).ranking.predictions


@pytest.mark.parametrize("kind", ["train", "database"])
def test_dimensions_are_variants_of_one_result(kind):
    trial = TrialSpec(evaluate=EvaluateSpec(whitening=kind, dimensions=(6, 3)))
    tasks = build_tasks(CITIES[:2], trial)
    descriptors, learning = described(trial, tasks)
    found = assess(descriptors, trial.evaluate, tasks, learning)
    if kind == "train":
        rows = [descriptors.of(CITIES[2].database, np.flatnonzero(~CITIES[2].database.pano))]
    else:
        rows = [descriptors.of(task.city.database, task.gallery) for task in tasks]
    learnt = descriptors.values_ND[np.concatenate(rows)]
    expected = [
        rank(tasks, Descriptors(slow_pca(learnt, descriptors.values_ND, d).astype("f4"), descriptors.places), "city")
        for d in (6, 3)
    ] + [rank(tasks, descriptors, "city")]
    protocol = describe_protocol(tasks, trial, "digest")
    variants = found.results(protocol)
    assert found.metrics == pytest.approx(expected[0].metrics)
    assert [each.metrics for each in variants] == [pytest.approx(each.metrics) for each in expected[1:]]
    assert [(v.protocol.whitening, v.protocol.dimensions) for v in variants] == [(kind, 3), ("none", None)]
    assert (protocol.whitening, protocol.dimensions) == (kind, 6)
    assert len({protocol.fingerprint, *(v.protocol.fingerprint for v in variants)}) == 3
    plain = trial.model_copy(update={"evaluate": EvaluateSpec()})
    assert variants[-1].protocol == describe_protocol(tasks, plain, "digest"), "as if it were never whitened"


def test_many_training_images_are_thinned_evenly(monkeypatch):
    every = sum(int((~city.database.pano).sum()) for city in CITIES)
    assert sum(len(rows) for _, rows in learning_rows(EvaluateSpec(whitening="train"), [], CITIES)) == every
    monkeypatch.setattr(room, "LEARN_IMAGES", every // 2)
    thinned = sum(len(rows) for _, rows in learning_rows(EvaluateSpec(whitening="train"), [], CITIES))
    assert every // 4 < thinned <= every // 2 + len(CITIES)
