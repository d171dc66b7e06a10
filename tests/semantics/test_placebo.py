"""Placebo masks keep one thing of the real mask, lose its classes, and never change."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from vprdist.semantics.placebo import layout, moved, other_classes, other_image, scatter
from vprdist.spec.vocabulary import CLASSES, STATIC_CLASSES

WHERE = (3, "ada", "query", "k1")


def scattered(mask: np.ndarray, *where: object) -> np.ndarray:
    return scatter(mask, layout(*mask.shape, *where))


def test_scattered_values_are_the_same_as_often() -> None:
    mask = np.repeat(np.linspace(0, 1, 30, dtype=np.float32), 20).reshape(20, 30)  # many ties
    out = scattered(mask, *WHERE)
    assert out.shape == mask.shape
    assert out.dtype == np.float32
    assert Counter(out.ravel().tolist()) == Counter(mask.ravel().tolist())
    assert not np.array_equal(out, mask)


def test_scattered_masks_know_nothing_of_the_real_one_and_are_blobs() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((24, 32), np.float32)
    mask[:12] = 1.0  # a half that is always the same
    outs = np.stack([scattered(mask, 0, "ada", "query", f"k{i}") for i in range(400)])
    assert np.abs(outs.mean(axis=0) - 0.5).max() < 0.15, "everywhere as often"
    steps = np.abs(np.diff(outs, axis=2)).mean()
    noise = np.abs(np.diff(rng.permuted(mask.ravel()).reshape(mask.shape), axis=1)).mean()
    assert steps < 0.3 * noise, "neighbours are alike, unlike in white noise"


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2), (96, 120)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_flat_and_tiny_masks_stay_what_they_are(shape: tuple[int, int], value: float) -> None:
    mask = np.full(shape, value, np.float32)
    assert np.array_equal(scattered(mask, *WHERE), mask)


def test_another_image_is_never_the_same_and_every_other_one_is_as_likely() -> None:
    drawn = Counter(other_image(5, 2, 0, "ada", "query", f"k{i}") for i in range(4000))
    assert set(drawn) == {0, 1, 3, 4}
    assert min(drawn.values()) > 850
    with pytest.raises(ValueError, match="no other"):
        other_image(1, 0, 0, "ada", "query", "k")


@pytest.mark.parametrize("count", [1, 5, 9, 10, 18])
def test_other_classes_are_others_as_far_as_there_are_enough(count: int) -> None:
    chosen = CLASSES[:count]
    seen = set()
    for seed in range(200):
        drawn = other_classes(chosen, seed)
        assert len(drawn) == count
        assert list(drawn) == [name for name in CLASSES if name in drawn], "in trainId order, each once"
        assert len(set(drawn) & set(chosen)) == max(0, count - (19 - count))
        assert drawn != chosen
        seen |= set(drawn) - set(chosen)
    assert seen == set(CLASSES) - set(chosen), "each of the others comes up"
    assert other_classes(tuple(reversed(chosen)), 1) == other_classes(chosen, 1)


def test_all_classes_have_no_others() -> None:
    with pytest.raises(ValueError, match="no others"):
        other_classes(CLASSES, 0)


def test_another_process_draws_the_same() -> None:
    code = (
        "import numpy as np; from vprdist.spec.vocabulary import STATIC_CLASSES;"
        "from vprdist.semantics.placebo import *;"
        "print(other_classes(STATIC_CLASSES, 7), other_image(9, 1, 7, 'a', 'query', 'k'),"
        "scatter(np.arange(12, dtype=np.float32).reshape(3, 4), layout(3, 4, 7, 'a', 'query', 'k')).tolist())"
    )
    here = (
        f"{other_classes(STATIC_CLASSES, 7)} {other_image(9, 1, 7, 'a', 'query', 'k')} "
        f"{scatter(np.arange(12, dtype=np.float32).reshape(3, 4), layout(3, 4, 7, 'a', 'query', 'k')).tolist()}"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert there.strip() == here
    assert scatter(np.arange(12, dtype=np.float32).reshape(3, 4), layout(3, 4, 8, "a", "query", "k")).tolist() != here


def test_moved_maps_keep_their_sum_and_their_blobs_and_stay_nowhere() -> None:
    rng = np.random.default_rng(1)
    maps = rng.integers(0, 256, (4, 9, 14), np.uint8)
    out, mirrors = [], set()
    for number in range(200):
        where = (3, "ada", "query", f"k{number}")
        found = moved(maps, *where)
        assert np.array_equal(found, moved(maps, *where)), "the same every time"
        assert np.array_equal(found.sum(axis=0), moved(maps.sum(axis=0), *where)), "linear in the maps"
        fits = [
            (mirror, down, right)
            for mirror in (False, True)
            for down in range(9)
            for right in range(14)
            if np.array_equal(found, np.roll(maps[..., ::-1] if mirror else maps, (down, right), (1, 2)))
        ]
        assert len(fits) == 1, "moved as a whole"
        mirror, down, right = fits[0]
        assert 3 <= down <= 6 and 4 <= right <= 10, "by a quarter of each axis or more"
        mirrors.add(mirror)
        out.append((down, right))
    assert mirrors == {False, True} and len(set(out)) > 20
    assert moved(maps[:, :1, :1], *WHERE).shape == (4, 1, 1)
