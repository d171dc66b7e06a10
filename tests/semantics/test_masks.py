"""Masks and area averaging against slow loops."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from vprdist.semantics import masks
from vprdist.semantics.masks import reduce_levels, reduce_mask
from vprdist.semantics.resize import resize_area


@pytest.mark.parametrize("how", ["mean", "sum", "max"])
@pytest.mark.parametrize("count", [1, 2, 10, 19])
def test_masks_are_what_the_loops_say(how: str, count: int) -> None:
    activations = np.random.default_rng(count).integers(0, 256, (count, 5, 7)).astype(np.uint8)
    mask = reduce_mask(activations, how)
    assert mask.dtype == np.float32
    assert mask.shape == (5, 7)
    for y in range(5):
        for x in range(7):
            values = [int(activations[c, y, x]) for c in range(count)]
            wanted = {
                "mean": sum(values) / (255 * count),
                "sum": min(1.0, sum(values) / 255),
                "max": max(values) / 255,
            }[how]
            assert mask[y, x] == pytest.approx(wanted, abs=1e-7)
            assert 0 <= mask[y, x] <= 1


def test_the_papers_mean_of_ten_classes_darkens_to_a_tenth() -> None:
    random = np.random.default_rng(0)
    scores = random.gamma(0.2, size=(19, 40, 40))
    activations = np.round(255 * scores / scores.sum(axis=0)).astype(np.uint8)
    assert 255 * reduce_mask(activations[:10], "mean").max() <= 26
    assert reduce_mask(activations, "sum").min() > 0.97


def test_many_full_classes_do_not_overflow() -> None:
    full = np.full((300, 2, 2), 255, np.uint8)
    for how in ("mean", "sum", "max"):
        assert (reduce_mask(full, how) == 1).all()


@pytest.mark.parametrize("count", [1, 2, 3, 10, 19])
@pytest.mark.parametrize("how", ["mean", "sum", "max"])
@pytest.mark.parametrize("near_bytes", [0, 2**20])
def test_sums_in_bytes_are_the_sums(count: int, how: str, near_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every sum up to the highest that still adds in bytes, however it is spread; one higher adds wide."""
    monkeypatch.setattr(masks, "NARROW_PIXELS", 1)
    monkeypatch.setattr(masks, "NEAR_BYTES", near_bytes)
    highest = min(255 * count, (256 * count - 1) // max(1, count - 1))
    assert highest * (count - 1) < 256 * count
    random = np.random.default_rng(count)
    for spread in range(6):
        values = np.zeros((count, 1, highest + 1), np.int64)
        for total in range(highest + 1):
            shares = random.dirichlet(np.full(count, (0.05, 1, 100)[spread % 3]))
            parts = np.minimum(255, np.floor(shares * total).astype(int))
            while parts.sum() < total:
                parts[random.choice(np.flatnonzero(parts < 255))] += 1
            values[:, 0, total] = parts
        stack = values.astype(np.uint8)
        assert (stack.sum(axis=0, dtype=int)[0] == np.arange(highest + 1)).all()
        narrow, wide = (reduce_levels(stack, how, peak) for peak in (highest, None))
        assert narrow.dtype == wide.dtype and (narrow == wide).all()
        apart = np.stack([stack, stack], axis=1)[:, 0]  # planes that do not follow each other
        for peak, few in ((highest, apart), (None, apart), (min(255, highest), apart[..., : min(255, highest) + 1])):
            levels = reduce_levels(few, how, peak)
            assert levels.dtype == wide.dtype and (levels == wide[..., : few.shape[-1]]).all()
    full = np.full((count, 1, 1), 255, np.uint8)
    assert reduce_levels(full, "mean", 255 * count).item() == 255 * count, "a high peak is no promise"


def test_a_list_of_planes_is_as_good_as_an_array() -> None:
    activations = np.random.default_rng(1).integers(0, 256, (3, 4, 4)).astype(np.uint8)
    assert (reduce_mask(list(activations), "sum") == reduce_mask(activations, "sum")).all()


@pytest.mark.parametrize(
    ("activations", "how"),
    [
        (np.zeros((0, 2, 2), np.uint8), "sum"),
        (np.zeros((2, 2), np.uint8), "sum"),
        (np.zeros((1, 2, 2), np.float32), "sum"),
        (np.zeros((1, 2, 2), np.uint8), "median"),
    ],
)
def test_a_caller_at_fault_is_told(activations: np.ndarray, how: str) -> None:
    with pytest.raises(ValueError, match="mask"):
        reduce_mask(activations, how)


def slow_area(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each output pixel by its overlaps with every input pixel, in fractions, rounded half up."""
    out = np.empty(size, np.uint8)
    for i in range(size[0]):
        for j in range(size[1]):
            total = Fraction(0)
            for y in range(plane.shape[0]):
                for x in range(plane.shape[1]):
                    total += (
                        int(plane[y, x])
                        * overlap(i, y, plane.shape[0], size[0])
                        * overlap(j, x, plane.shape[1], size[1])
                    )
            out[i, j] = int(total + Fraction(1, 2))
    return out


def overlap(out: int, cell: int, num_in: int, num_out: int) -> Fraction:
    """The share of output pixel `out` that lies in input cell `cell`."""
    step = Fraction(num_in, num_out)
    return max(Fraction(0), min((out + 1) * step, Fraction(cell + 1)) - max(out * step, Fraction(cell))) / step


@pytest.mark.parametrize("size", [(4, 6), (2, 3), (3, 4), (1, 1), (8, 12), (5, 9), (7, 7)])
def test_area_averaging_is_exact(size: tuple[int, int]) -> None:
    activations = np.random.default_rng(2).integers(0, 256, (2, 4, 6)).astype(np.uint8)
    resized = resize_area(activations, size)
    assert resized.dtype == np.uint8
    for plane, wanted in zip(resized, activations, strict=True):
        assert (plane == slow_area(wanted, size)).all()
