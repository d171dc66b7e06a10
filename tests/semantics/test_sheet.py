"""The sheet of a cache, pixel by pixel where it matters, and its command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worlds import write_city
from vprdist.cli import main
from vprdist.data.layouts.msls import read_city
from vprdist.data.palette import PALETTE
from vprdist.errors import CacheError
from vprdist.semantics.arms import ArmMasks
from vprdist.semantics.cache import open_cache
from vprdist.semantics.importing import import_cache
from vprdist.semantics.resize import placed_mask
from vprdist.semantics.sheet import CELL_WIDTH, GAP, HEAD, LABEL_WIDTH, MARGIN, ShownMask, class_names, write_sheet
from vprdist.spec.arms import Arm
from vprdist.spec.data import DataSpec
from vprdist.spec.input import InputSpec
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import CLASSES, STATIC_CLASSES
from vprdist.store.trial_folder import TrialFolder


@pytest.fixture
def cache(small_tree: Path, tmp_path: Path) -> Path:
    """`bob`: the left half of every picture is building, the right half car, at 204 of 255; the rest is sky."""
    for name in ("query", "database"):
        keys = [str(key) for key in getattr(read_city(small_tree, "bob"), name).keys]
        activations = np.zeros((len(keys), 19, 8, 10), np.uint8)
        activations[:, CLASSES.index("building"), :, :5] = 204
        activations[:, CLASSES.index("car"), :, 5:] = 204
        activations[:, CLASSES.index("sky")] = 51
        (tmp_path / "source").mkdir(exist_ok=True)
        np.savez(tmp_path / "source" / f"bob_{name}.npz", keys=np.array(keys), activations=activations)
    import_cache(tmp_path / "source", small_tree, tmp_path / "cache")
    return tmp_path / "cache"


def cells(path: Path, column: int, height: int, lines: int = 4) -> list[np.ndarray]:
    pixels = np.asarray(Image.open(path)).astype(int)
    x = MARGIN + LABEL_WIDTH + column * (CELL_WIDTH + GAP)
    tops = [MARGIN + HEAD + row * (height + GAP) for row in range(lines)]
    return [pixels[top : top + height, x : x + CELL_WIDTH] for top in tops]


def test_each_column_is_a_picture_and_what_the_cache_says_of_it(cache: Path, small_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    assert main(["cache", "sheet", str(cache), "--data", str(small_tree), str(out), "--images", "3"]) == 0
    side = read_city(small_tree, "bob").query
    for column, row in enumerate((0, 3, 7)):  # evenly over the eight queries
        with Image.open(side.image_path(row)) as file:
            size = (CELL_WIDTH, round(CELL_WIDTH * file.height / file.width))
            wanted = np.asarray(file.convert("RGB").resize(size, Image.Resampling.BILINEAR)).astype(int)
        picture, classes, mask, masked = cells(out, column, size[1])
        assert (picture == wanted).all()
        left, right = slice(0, CELL_WIDTH // 3), slice(2 * CELL_WIDTH // 3, None)
        assert (classes[:, left] == PALETTE[CLASSES.index("building")]).all()
        assert (classes[:, right] == PALETTE[CLASSES.index("car")]).all()
        assert (mask[:, left] == 204).all() and (mask[:, right] == 0).all()
        assert np.abs(masked[:, left] - wanted[:, left] * 0.8).max() <= 0.5 + 1e-3 and (masked[:, right] == 0).all()


def test_other_classes_make_another_mask(cache: Path, small_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    shown = ShownMask(arm=Arm(class_names("car,sky")), reduce="max")
    write_sheet(cache, small_tree, out, city="bob", masks=[shown], images=1)
    mask = cells(out, 0, round(CELL_WIDTH * 32 / 40))[2]
    assert (mask[:, :50] == 51).all() and (mask[:, -50:] == 204).all()


def test_a_mean_is_as_dark_as_a_network_sees_it_and_stretched_beside(
    cache: Path, small_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sheet.png"
    words = ["cache", "sheet", str(cache), "--data", str(small_tree), str(out), "--images", "1"]
    assert main([*words, "--reduce", "mean"]) == 0
    assert "masks (mean of 10 classes), masked pictures as dark as" in " ".join(capsys.readouterr().out.split())
    height = round(CELL_WIDTH * 32 / 40)
    picture, _, mask, bright_mask, masked, bright = cells(out, 0, height, 6)
    left, right = slice(0, CELL_WIDTH // 3), slice(2 * CELL_WIDTH // 3, None)
    assert (mask[:, left] == 20).all() and (bright_mask[:, left] == 204).all(), "204 / 10"
    assert np.abs(masked[:, left] - picture[:, left] * 0.08).max() <= 0.501 and masked.max() <= 26
    assert np.abs(bright[:, left] - picture[:, left] * 0.8).max() <= 0.501
    assert (masked[:, right] == 0).all() and (bright[:, right] == 0).all()


def test_the_masks_of_a_trial_are_drawn_and_its_placebo(
    cache: Path, small_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = InputSpec(mode="masked", classes=("building", "car"), mask_reduce="mean", placebo="image")
    trial = TrialSpec(data=DataSpec(root=str(small_tree), train=("bob",)), input=given, seed=4)
    folder = TrialFolder(tmp_path / "runs" / "trials" / "0123456789abcdef")
    folder.path.mkdir(parents=True)
    folder.write_trial(trial)
    out = tmp_path / "sheet.png"
    words = ["cache", "sheet", str(cache), "--data", str(small_tree), str(out), "--images", "2"]
    assert main([*words, "--trial", "0123", "--runs", str(tmp_path / "runs")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "masks (mean of building, car, mean of building, car; placebo: another picture's mask)" in said
    height, width = round(CELL_WIDTH * 32 / 40), CELL_WIDTH
    side = read_city(small_tree, "bob").query
    made = ArmMasks(open_cache(cache), "mean", 4)
    for column, row in enumerate((0, 7)):
        picture, _, *masks = cells(out, column, height, 10)
        for place, placebo in ((0, "none"), (4, "image")):
            mask = placed_mask(made.mask(side, row, Arm(given.class_names, placebo)), (height, width), "cells")  # type: ignore[arg-type]
            dark, bright, seen, bright_seen = masks[place : place + 4]
            for found, wanted in (
                (dark[..., 0], 255 * mask), (bright[..., 0], 510 * mask), (seen, picture * mask[..., None]),
                (bright_seen, 2 * picture * mask[..., None]),
            ):  # fmt: skip
                assert np.abs(found - wanted.clip(0, 255)).max() <= 0.501
    folder.write_trial(trial.model_copy(update={"input": InputSpec()}))
    assert main([*words, "--trial", "0123", "--runs", str(tmp_path / "runs")]) == 2
    assert "the trial must have a mask; found 'mode rgb'" in capsys.readouterr().err
    assert main([*words, "--trial", "nosuch", "--runs", str(tmp_path / "runs")]) == 2


def test_classes_by_group_or_by_name() -> None:
    assert class_names("static") == STATIC_CLASSES
    assert class_names("sky, traffic_sign,road") == ("road", "traffic sign", "sky")
    with pytest.raises(CacheError, match="Did you mean 'building'"):
        class_names("bilding")


def test_wrong_questions_are_answered(cache: Path, small_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    with pytest.raises(CacheError, match="the cache has no such city"):
        write_sheet(cache, small_tree, out, city="ada")
    with pytest.raises(CacheError, match="at least one column"):
        write_sheet(cache, small_tree, out, images=0)
    write_city(tmp_path / "other", "bob", num_query=8, num_database=16, seed=9)
    with pytest.raises(CacheError, match="must be of this data set; it was made for digest"):
        write_sheet(cache, tmp_path / "other", out)
    assert not out.exists()


@pytest.mark.parametrize(("form", "lines"), [("mean", 4), ("blur", 4), ("features", 3), (None, 3)])
def test_a_sheet_shows_the_form_of_a_mask(cache: Path, small_tree: Path, tmp_path: Path, form, lines: int) -> None:
    out = tmp_path / "sheet.png"
    shown = ShownMask(form=form)
    write_sheet(cache, small_tree, out, city="bob", masks=[shown], images=1)
    found = cells(out, 0, round(CELL_WIDTH * 32 / 40), lines)
    mask = found[2]
    right = slice(2 * CELL_WIDTH // 3, None)
    assert (mask[:, right] == 0).all()
    if lines == 4:
        assert found[3][:, right].min() > 0, "the fill stands where the mask is zero"
    if form == "mean":
        assert (found[3][:, right] == np.round(255 * np.array([0.485, 0.456, 0.406]))).all()
    words = {"mean": "; filled with mean colour", "blur": "; filled with blur", "features": "; it weighs the features"}
    assert shown.words == "sum of 10 classes" + words.get(form, "")
