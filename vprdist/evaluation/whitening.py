"""PCA whitening of descriptors, learnt on some of them: fewer dimensions, each of them equally loud."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vprdist.errors import UserError
from vprdist.evaluation.descriptors import Descriptors, Rows, Values, allocate
from vprdist.spec.evaluate import EvaluateSpec

BLOCK = 8192
NO_VARIANCE = 1e-10
"""A direction with less of the largest variance holds rounding errors alone."""


@dataclass(frozen=True)
class Whitening:
    """mean_D is taken off, basis_DE projects on the E strongest directions and divides by their deviations."""

    mean_D: npt.NDArray[np.float64]
    basis_DE: npt.NDArray[np.float64]

    def apply(self, values_ND: Values, dimensions: int) -> Values:
        """(N, dimensions) of the same type, of unit length again (Jégou & Chum, 2012)."""
        out = allocate(len(values_ND), dimensions, "float16" if values_ND.dtype == np.float16 else "float32")
        for block in _blocks(len(values_ND)):
            rows = (values_ND[block].astype(np.float64) - self.mean_D) @ self.basis_DE[:, :dimensions]
            out[block] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return out


def check_dimensions(evaluate: EvaluateSpec, available: int) -> None:
    """Raises:
    UserError: more dimensions are wanted than descriptors have.
    """
    if evaluate.dimensions and max(evaluate.dimensions) > available:
        fault = f"whitening must keep at most the {available} dimensions of the descriptors"
        raise UserError("trial.evaluate.dimensions", fault, max(evaluate.dimensions), "Ask for fewer.")


def check_images(dimensions: int, available: int) -> None:
    """Raises:
    UserError: no more images to learn whitening on than dimensions.
    """
    if available <= dimensions:
        fault = f"whitening to {dimensions} dimensions must be learnt on more images than that"
        raise UserError("trial.evaluate.whitening", fault, available, "Ask for fewer dimensions.")


def learn(values_ND: Values, rows: Rows, dimensions: int) -> Whitening:
    """Learn it on some rows; `dimensions` is the most that will be asked of it.

    Raises:
        UserError: no more images than dimensions, or these vary in fewer directions.
    """
    check_images(dimensions, len(rows))
    size = values_ND.shape[1]
    total, squares = np.zeros(size), np.zeros((size, size))
    for block in _blocks(len(rows)):
        total += values_ND[rows[block]].sum(axis=0, dtype=np.float64)
    mean = total / len(rows)
    for block in _blocks(len(rows)):
        centred = values_ND[rows[block]].astype(np.float64) - mean
        squares += centred.T @ centred
    variances, directions = np.linalg.eigh(squares / (len(rows) - 1))
    variances, directions = variances[::-1][:dimensions], directions[:, ::-1][:, :dimensions]
    heard = int((variances > NO_VARIANCE * max(float(variances[0]), 0.0)).sum())
    if heard < dimensions:
        fault = f"whitening to {dimensions} dimensions needs descriptors that vary in as many directions"
        remedy = f"Ask for at most {heard} dimensions." if heard else "Do not whiten: all of them are equal."
        raise UserError("trial.evaluate.dimensions", fault, heard, remedy)
    return Whitening(mean, directions / np.sqrt(variances))


def whitened(
    descriptors: Descriptors, evaluate: EvaluateSpec, learning: Rows
) -> Iterator[tuple[str, int | None, Descriptors]]:
    """(whitening, dimensions, descriptors) of every evaluation that the spec asks for, the trial's result first.

    Args:
        learning: places to learn on.

    Raises:
        UserError: too many dimensions, or too few images or directions to learn them on.
    """
    if evaluate.whitening == "none":
        yield "none", None, descriptors
        return
    size = descriptors.values_ND.shape[1]
    check_dimensions(evaluate, size)
    wanted = evaluate.dimensions or (size,)
    pca = learn(descriptors.values_ND, learning, max(wanted))
    for dimensions in wanted:
        yield (
            evaluate.whitening,
            dimensions,
            Descriptors(pca.apply(descriptors.values_ND, dimensions), descriptors.places),
        )
    yield "none", None, descriptors


def _blocks(count: int) -> Iterator[slice]:
    return (slice(begin, begin + BLOCK) for begin in range(0, count, BLOCK))
