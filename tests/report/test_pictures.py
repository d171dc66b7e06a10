"""Pictures for the page: from a real tree and cache, and none where they cannot be had."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprdist.data.layouts.msls import read_city
from vprdist.demo import make
from vprdist.network.inputs import PlaceReader
from vprdist.network.stem import InputStem
from vprdist.report.page.figures import kinds_of_mask
from vprdist.report.pictures import WIDTH, pictures_of
from vprdist.semantics.filling import MEAN, UNTOLD
from vprdist.semantics.importing import import_cache
from vprdist.semantics.masks import full_level
from vprdist.spec.arms import ArmsSpec
from vprdist.spec.data import DataSpec
from vprdist.spec.demo import DemoSpec
from vprdist.spec.doors import BackboneName
from vprdist.spec.input import InputSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import FORM_WORDS

TINY = DemoSpec(height=32, width=48, supersample=1, train=("alder",), validate_cities=("elm",), streets=1, places=4,
                query_visits=2, pano_share=0.0)  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    make(TINY, folder)
    import_cache(folder / "semantics", folder, folder / "cache", segmenter="truth")
    return folder


def trial_of(tree: Path, **more) -> TrialSpec:
    inputs = InputSpec(**({"mode": "masked", "mask_reduce": "sum", "cache": str(tree / "cache")} | more))
    return TrialSpec(data=DataSpec(root=str(tree), train=("alder",), validate_cities=("elm",)), input=inputs)


def opened(jpeg: bytes | None) -> np.ndarray:
    assert jpeg is not None
    return np.asarray(Image.open(io.BytesIO(jpeg))).astype(float)


def views(found) -> dict[str, np.ndarray]:
    return {view.label: opened(view.jpeg) for view in found}


def test_thumbnails_masks_and_the_figure(tree):
    trial = trial_of(tree, classes=("road",))
    pictures = pictures_of(trial)
    figure = pictures.figure(trial, 3)[1]
    small = opened(pictures.thumbnail("elm", "query", figure.key))
    assert small.shape == (round(WIDTH * 32 / 48), WIDTH, 3) and pictures.reason is None
    shown = views(figure.views)
    assert list(shown) == ["picture", "classes", "mask", "masked"]
    masked = views(pictures.masked("elm", "query", figure.key, trial))["masked"]
    road = shown["mask"][..., 0] > 250
    assert 0.05 < road.mean() < 0.95
    assert np.abs(masked - small)[road].mean() < 8, "where the mask is one the picture is as it was"
    assert masked[shown["mask"][..., 0] < 2].mean() < 8, "and black where it is nothing"
    assert [figure.city for figure in pictures.figure(trial, 2)] == ["elm", "elm"]


@pytest.mark.parametrize("placebo", ["none", "random", "image", "classes"])
@pytest.mark.parametrize("how", ["mean", "sum", "max"])
def test_a_masked_picture_is_as_dark_as_the_network_sees_it(tree, how, placebo):
    """Recomputed by the reader and the stem of a job, at the page's size; a JPEG is a few grey levels off."""
    trial = trial_of(tree, classes=("road", "building", "sky", "wall"), mask_reduce=how, placebo=placebo)
    pictures, reader = pictures_of(trial), PlaceReader(trial, (round(WIDTH * 32 / 48), WIDTH))
    stem = InputStem("masked", full_level(4, how))
    for name, side in (("query", read_city(tree, "elm").query), ("database", read_city(tree, "elm").database)):
        image, extra = reader.read(side, 2)
        wanted = 255 * (stem(image[None], extra[None]) * stem.std + stem.mean)[0].permute(1, 2, 0).numpy()
        shown = views(pictures.masked("elm", name, str(side.keys[2]), trial))
        words = {"none": "masked", "random": "masked (placebo: random blobs)",
                 "image": "masked (placebo: another picture's mask)",
                 "classes": "masked (placebo: as many other classes)"}[placebo]  # fmt: skip
        assert list(shown) == ([words, f"{words}, stretched 4 x"] if how == "mean" else [words])
        assert abs(shown[words].mean() - wanted.mean()) < 1.5 and np.abs(shown[words] - wanted).mean() < 6
        if how == "mean":
            assert wanted.max() <= 66
            bright = shown[f"{words}, stretched 4 x"]
            assert abs(bright.mean() - (4 * wanted).clip(0, 255).mean()) < 3


@pytest.mark.parametrize("placebo", ["none", "outline"])
@pytest.mark.parametrize("how", ["mean", "sum"])
@pytest.mark.parametrize("fill", ["black", "mean", "picture_mean", "blur"])
def test_every_form_is_shown_as_the_network_sees_it(tree, fill, how, placebo):
    classes = ("road", "building")
    trial = trial_of(tree, classes=classes, mask_reduce=how, placebo=placebo, mask_fill=fill)
    pictures, reader = pictures_of(trial), PlaceReader(trial, (round(WIDTH * 32 / 48), WIDTH))
    stem = InputStem("masked", full_level(2, how), fill=fill, outline=placebo == "outline")
    side = read_city(tree, "elm").query
    image, extra = reader.read(side, 2)
    wanted = 255 * stem.shown(image[None], extra[None])[0].permute(1, 2, 0).numpy()
    form = "" if fill == "black" else f", filled with {FORM_WORDS[fill]}"
    word = f"masked{form}" + (" (placebo: its outline, filled with white)" if placebo == "outline" else "")
    shown = views(pictures.masked("elm", "query", str(side.keys[2]), trial))
    stretched = "stretched 2 x" if fill == "black" else "its mask stretched 2 x"
    assert list(shown) == ([word, f"{word}, {stretched}"] if how == "mean" else [word])
    assert abs(shown[word].mean() - wanted.mean()) < 1.5 and np.abs(shown[word] - wanted).mean() < 6
    (figure,) = pictures.figure(trial, 1)
    assert [view.label for view in figure.views][:3] == ["picture", "classes", "mask"]


def test_mean_colour_is_the_backbones_own_or_said_to_be_unknown(tree):
    plain = trial_of(tree, classes=("road",), mask_fill="mean")
    side = read_city(tree, "elm").query
    shown, own = {}, (0.75, 0.5, 0.25)
    for backbone in ({"name": "onnx", "file": "/net.onnx", "mean": own}, {"name": "timm", "model": "a"}):
        network = NetworkSpec(backbone=BackboneName.model_validate(backbone))
        trial = plain.model_copy(update={"network": network})
        shown |= views(pictures_of(trial).masked("elm", "query", str(side.keys[2]), trial))
    usual = views(pictures_of(plain).masked("elm", "query", str(side.keys[2]), plain))
    word = "masked, filled with mean colour"
    assert list(usual) == [word] and list(shown) == [word, f"{word} ({UNTOLD})"]
    hidden = np.abs(usual[word] - np.array(MEAN) * 255).max(axis=2) < 6
    assert hidden.mean() > 0.2
    assert np.abs(shown[word][hidden] - np.array(own) * 255).mean() < 6
    assert np.abs(shown[f"{word} ({UNTOLD})"] - usual[word]).max() == 0


@pytest.mark.parametrize("how", ["mean", "sum"])
def test_at_the_features_the_mask_is_shown_as_weights(tree, how):
    trial = trial_of(tree, classes=("road", "building"), mask_reduce=how, mask_at="features")
    pictures = pictures_of(trial)
    (figure,) = pictures.figure(trial, 1)
    labels = [view.label for view in figure.views]
    word = "weights of the features"
    assert labels == ["picture", "classes", word, *([f"{word}, stretched 2 x"] if how == "mean" else [])]
    shown = views(figure.views)[labels[-1]]
    plain = trial_of(tree, classes=("road", "building"))
    (masked,) = pictures_of(plain).figure(plain, 1)
    assert np.abs(shown - views(masked.views)["mask"]).mean() < 2, "the sum of its classes"


def test_kinds_of_mask_are_forms_and_the_placebos_that_one_network_met(tree):
    arms = ArmsSpec(players=(("road",), ("building",)), placebos=("random", "outline"))
    trials = [trial_of(tree, classes=("road", "building"), mask_fill=fill) for fill in ("black", "blur", "black")]
    met = trials[0].model_copy(update={"train": trials[0].train.model_copy(update={"arms": arms})})
    kinds = [(trial.input.form, trial.input.placebo) for trial in kinds_of_mask([*trials, met])]
    assert kinds == [("black", "none"), ("blur", "none"), ("black", "random"), ("black", "outline")]


def test_a_mask_that_is_a_channel_is_shown_as_one(tree):
    trial = trial_of(tree, classes=("road", "sky"), mask_reduce="mean", mode="rgb+mask")
    pictures = pictures_of(trial)
    figure = pictures.figure(trial, 1)[0]
    labels = ["picture", "classes", "mask beside it", "mask beside it, stretched 2 x"]
    assert [view.label for view in figure.views] == labels
    shown = views(pictures.masked("elm", "query", figure.key, trial))["mask beside it"]
    assert 100 < shown.max() < 140 and np.ptp(shown, axis=2).max() < 3, "grey, and at most a half"


def test_what_cannot_be_had_is_none(tree, tmp_path):
    trial = trial_of(tree)
    pictures = pictures_of(trial)
    assert pictures.thumbnail("elm", "query", "nothing") is None
    assert pictures.thumbnail("nowhere", "query", "nothing") is None
    assert pictures.thumbnail("elm", "query", "../../../../cache/manifest") is None
    key = pictures.figure(trial, 1)[0].key
    assert pictures.thumbnail("nowhere", "query", key) is not None, "a gallery of all cities: looked for in each"
    assert pictures.masked("elm", "query", "nothing", trial) == []
    gone = trial.model_copy(update={"input": trial.input.model_copy(update={"cache": str(tmp_path)})})
    assert pictures.masked("elm", "query", key, gone) == [] and pictures.figure(gone, 2) == []


def test_data_that_are_gone_are_a_reason(tmp_path):
    pictures = pictures_of(trial_of(tmp_path))
    assert str(tmp_path) in (pictures.reason or "")
    assert pictures.thumbnail("elm", "query", "x") is None and pictures.figure(trial_of(tmp_path), 1) == []
