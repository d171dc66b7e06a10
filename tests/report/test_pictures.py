"""Pictures for the page: from a real tree and cache, and none where they cannot be had."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprdist.demo import make
from vprdist.report.pictures import WIDTH, pictures_of
from vprdist.semantics.importing import import_cache
from vprdist.spec.data import DataSpec
from vprdist.spec.demo import DemoSpec
from vprdist.spec.input import InputSpec
from vprdist.spec.trial import TrialSpec

TINY = DemoSpec(height=32, width=48, supersample=1, train=("alder",), validate_cities=("elm",), streets=1, places=4,
                query_visits=2, pano_share=0.0)  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    make(TINY, folder)
    import_cache(folder / "semantics", folder, folder / "cache", segmenter="truth")
    return folder


def trial_of(tree: Path, **more) -> TrialSpec:
    inputs = InputSpec(mode="masked", mask_reduce="sum", cache=str(tree / "cache"), **more)
    return TrialSpec(data=DataSpec(root=str(tree), train=("alder",), validate_cities=("elm",)), input=inputs)


def opened(jpeg: bytes | None) -> np.ndarray:
    assert jpeg is not None
    return np.asarray(Image.open(io.BytesIO(jpeg))).astype(float)


def test_thumbnails_masks_and_the_figure(tree):
    trial = trial_of(tree, classes=("road",))
    pictures = pictures_of(trial)
    key = pictures.figure(trial, 3)[1].key
    small = opened(pictures.thumbnail("elm", "query", key))
    assert small.shape == (round(WIDTH * 32 / 48), WIDTH, 3) and pictures.reason is None
    masked = opened(pictures.masked("elm", key, trial))
    road = opened(pictures.figure(trial, 3)[1].mask)[..., 0] > 250
    assert 0.05 < road.mean() < 0.95
    assert np.abs(masked - small)[road].mean() < 8, "where the mask is one the picture is as it was"
    assert masked[opened(pictures.figure(trial, 3)[1].mask)[..., 0] < 2].mean() < 8, "and black where it is nothing"
    assert [figure.city for figure in pictures.figure(trial, 2)] == ["elm", "elm"]


def test_what_cannot_be_had_is_none(tree, tmp_path):
    trial = trial_of(tree)
    pictures = pictures_of(trial)
    assert pictures.thumbnail("elm", "query", "nothing") is None
    assert pictures.thumbnail("nowhere", "query", "nothing") is None
    assert pictures.thumbnail("elm", "query", "../../../../cache/manifest") is None
    key = pictures.figure(trial, 1)[0].key
    assert pictures.thumbnail("nowhere", "query", key) is not None, "a gallery of all cities: looked for in each"
    assert pictures.masked("elm", key, trial_of(tree, placebo="random")) is None
    gone = trial.model_copy(update={"input": trial.input.model_copy(update={"cache": str(tmp_path)})})
    assert pictures.masked("elm", key, gone) is None and pictures.figure(gone, 2) == []


def test_data_that_are_gone_are_a_reason(tmp_path):
    pictures = pictures_of(trial_of(tmp_path))
    assert str(tmp_path) in (pictures.reason or "")
    assert pictures.thumbnail("elm", "query", "x") is None and pictures.figure(trial_of(tmp_path), 1) == []
