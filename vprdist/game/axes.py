"""Axes of experiments as columns of a linear model: what varies, what varies with what, and what can be told apart.

A *row* is one configuration. An *axis* gives rows values; where a row's other values ignore the axis it has none there
(a mask's form, of a row without masks): such rows say nothing of it, and its columns are zero there. What the axis
changes is then told over the rows that have it, and what having it changes belongs to the axis that decides on it.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vprdist.game.draws import Floats, Whole

ABSENT = -1
RANK = 1e-9
"""Singular values below this share of the largest are zero."""
TRIALS_A_COEFFICIENT = 2
"""Interactions enter while there are so many trials for each coefficient."""
Terms = Mapping[frozenset[int], Floats]
"""By the places of one axis, or of two that interact, the columns (R, c) of its effects."""


@dataclass(frozen=True)
class Axis:
    """One axis: its values, and (R,) the place of each row's value among them, `ABSENT` where it has none.

    names: the keys; several where they vary together, and nobody can tell them apart.
    """

    names: tuple[str, ...]
    values: tuple[str, ...]
    codes: Whole

    @property
    def title(self) -> str:
        return " + ".join(self.names)

    @property
    def there(self) -> NDArray[np.bool_]:
        """(R,) which rows have it."""
        return np.asarray(self.codes != ABSENT, np.bool_)


def axis(name: str, values: Sequence[str | None]) -> Axis:
    """The axis of a key, from its value at each row; None where it has none."""
    known = tuple(dict.fromkeys(value for value in values if value is not None))
    places = {value: place for place, value in enumerate(known)}
    return Axis((name,), known, np.array([ABSENT if v is None else places[v] for v in values], np.int64))


def thirds(values: Sequence[float | None]) -> list[str | None]:
    """Numbers as the third of the rows that they are in, by rank; equal numbers are in one third.

    A third is called by its smallest and largest number. Ranks ask no more of a number than its order: a learning rate
    and its logarithm are one axis.
    """
    known = sorted(value for value in values if value is not None)
    middle = {value: (bisect_left(known, value) + bisect_right(known, value)) / 2 for value in known}
    place = {value: int(3 * rank / len(known)) for value, rank in middle.items()}
    ends = {p: [v for v in known if place[v] == p] for p in range(3)}
    names = {
        p: f"{part[0]:g}" if part[0] == part[-1] else f"{part[0]:g} to {part[-1]:g}" for p, part in ends.items() if part
    }
    return [None if value is None else names[place[value]] for value in values]


def coded(one: Axis, weights_R: Floats) -> Floats:
    """(R, k-1) its columns: each of the first values against the last one, of mean zero over the rows that have it."""
    columns = np.zeros((len(one.codes), len(one.values)))
    columns[one.there, one.codes[one.there]] = 1
    against = columns[:, :-1] - columns[:, -1:]
    against[one.there] -= np.average(against[one.there], axis=0, weights=weights_R[one.there])
    return np.asarray(against, np.float64)


def told_apart(axes: Sequence[Axis], weights_R: Floats) -> list[Axis]:
    """The axes; those whose effects nobody can tell apart, in the rows that are there, are made one.

    Two axes that always vary together are one, and so are an axis and the axes that its values follow from.
    """
    found = [each for each in axes if len(each.values) > 1]
    while (aliased := _aliased(found, weights_R)) is not None:
        together = [found[place] for place in aliased]
        found = [each for place, each in enumerate(found) if place not in aliased]
        found.insert(aliased[0], _as_one(together))
    return found


def _aliased(axes: Sequence[Axis], weights_R: Floats) -> list[int] | None:
    """The places of some axes of which one follows from the others; None where there are none."""
    columns = [coded(each, weights_R) for each in axes]

    def own(place: int, without: int | None = None) -> int:
        """How many of its columns say something that the other axes' do not."""
        others = [c for other, c in enumerate(columns) if other not in (place, without)]
        return rank([*others, columns[place]]) - rank(others)

    for place, each in enumerate(columns):
        left = own(place)
        if left < each.shape[1]:
            others = [other for other in range(len(axes)) if other != place]
            partners = [other for other in others if own(place, other) > left] or others
            return sorted([place, *partners]) if partners else None
    return None


def _as_one(axes: Sequence[Axis]) -> Axis:
    names = tuple(name for each in axes for name in each.names)
    told = [
        ", ".join("–" if code == ABSENT else each.values[code] for code, each in zip(codes, axes, strict=True))
        for codes in zip(*(each.codes.tolist() for each in axes), strict=True)
    ]
    there = np.any([each.there for each in axes], axis=0)
    merged = axis("", [text if there[row] else None for row, text in enumerate(told)])
    return Axis(names, merged.values, merged.codes)


def terms(axes: Sequence[Axis], weights_R: Floats, num_trials: int) -> dict[frozenset[int], Floats]:
    """The columns of each axis, and of pairs of axes that may interact.

    Two axes may where every value of one was run with every value of the other, and trials are at least twice as many
    as all coefficients; pairs with few coefficients enter first.
    """
    found = {frozenset([place]): coded(each, weights_R) for place, each in enumerate(axes)}
    size = 1 + sum(each.shape[1] for each in found.values())
    crossed = [
        (first, second) for first, second in itertools.combinations(range(len(axes)), 2)
        if _is_crossed(axes[first], axes[second])
    ]  # fmt: skip
    for first, second in sorted(crossed, key=lambda pair: _coefficients(axes, pair)):
        more = _coefficients(axes, (first, second))
        if num_trials < TRIALS_A_COEFFICIENT * (size + more):
            break
        one, other = found[frozenset([first])], found[frozenset([second])]
        product = (one[:, :, None] * other[:, None, :]).reshape(len(one), -1)
        if rank([*found.values(), product]) == rank(list(found.values())) + more:
            found[frozenset([first, second])] = product
            size += more
    return found


def _coefficients(axes: Sequence[Axis], pair: tuple[int, int]) -> int:
    return (len(axes[pair[0]].values) - 1) * (len(axes[pair[1]].values) - 1)


def _is_crossed(one: Axis, other: Axis) -> bool:
    both = one.there & other.there
    met = set(zip(one.codes[both].tolist(), other.codes[both].tolist(), strict=True))
    return len(met) == len(one.values) * len(other.values)


def rank(columns: Sequence[Floats]) -> int:
    """The rank of columns beside a constant one, which is not counted."""
    if not columns:
        return 0
    every = np.concatenate([np.ones((len(columns[0]), 1)), *columns], axis=1)
    sizes = np.linalg.norm(every, axis=0)
    return int(np.linalg.matrix_rank(every / np.where(sizes > 0, sizes, 1), tol=RANK * len(every))) - 1
