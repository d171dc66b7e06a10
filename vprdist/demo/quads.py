"""Quads: the only shape the renderer knows. A parallelogram with a class, and colours or a facade's numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vprdist.demo import atlas
from vprdist.demo.looks import TRAIN_ID, Floats

Triple = tuple[float, float, float]
NUM_PARTS = 8


@dataclass(frozen=True, kw_only=True)
class Quads:
    """N parallelograms, column by column.

    Attributes:
        origin, along, up: (N, 3) metres; a point of the quad is origin + u along + v up with u, v in [0, 1].
        label: (N,) trainIds; shape: (N,) maps of the atlas; repeat: (N, 2) copies of the map along and up.
        palette: (N, 8, 3) colour of each part; glow: (N, 2) strength of the lamps, parts 6 and 7.
        facade: (N,) row of `facades`, -1 for quads coloured by their palette.
        turns: (N,) quads that turn to face the camera (origin is the middle of the foot).
        reach: (N,) metres beyond which the quad is left out.
        facades: (F, 32) numbers of facades.
        shadows: (S, 4) dark patches on the ground: x, y, half length, half width.
    """

    origin: Floats
    along: Floats
    up: Floats
    label: NDArray[np.uint8]
    shape: NDArray[np.int16]
    repeat: Floats
    palette: Floats
    glow: Floats
    facade: NDArray[np.int32]
    turns: NDArray[np.bool_]
    reach: Floats
    facades: Floats
    shadows: Floats


@dataclass
class Builder:
    """Collects quads one by one."""

    rows: list[tuple[float, ...]] = field(default_factory=list)
    palettes: list[Floats] = field(default_factory=list)
    facades: list[list[float]] = field(default_factory=list)
    shadows: list[tuple[float, float, float, float]] = field(default_factory=list)

    def quad(
        self, origin: Triple, along: Triple, up: Triple, label: str, colours: Floats, shape: str = "full",
        repeat: tuple[float, float] = (1, 1), glow: tuple[float, float] = (0, 0), reach: float = 140.0,
        turns: bool = False, facade: list[float] | None = None,
    ) -> None:  # fmt: skip
        """Add one quad; `colours` is (up to 7, 3), the colours of parts 1, 2, ..."""
        palette = np.zeros((NUM_PARTS, 3), np.float32)
        palette[1 : 1 + len(colours)] = colours
        number = -1
        if facade is not None:
            number = len(self.facades)
            self.facades.append(facade)
        head = (*origin, *along, *up, TRAIN_ID[label], atlas.index(shape), *repeat, *glow, number, turns, reach)
        self.rows.append(head)
        self.palettes.append(palette)

    def billboard(
        self, foot: Triple, width: float, height: float, label: str, colours: Floats, shape: str = "full",
        glow: tuple[float, float] = (0, 0), reach: float = 140.0,
    ) -> None:  # fmt: skip
        """Add an upright quad that turns to face the camera."""
        self.quad(foot, (width, 0, 0), (0, 0, height), label, colours, shape, (1, 1), glow, reach, turns=True)

    def build(self) -> Quads:
        """The collected quads as arrays."""
        table = np.array(self.rows, np.float32).reshape(-1, 18)
        palettes = np.array(self.palettes, np.float32).reshape(-1, NUM_PARTS, 3)
        return Quads(
            origin=table[:, 0:3], along=table[:, 3:6], up=table[:, 6:9], label=table[:, 9].astype(np.uint8),
            shape=table[:, 10].astype(np.int16), repeat=table[:, 11:13], glow=table[:, 13:15],
            facade=table[:, 15].astype(np.int32), turns=table[:, 16] > 0, reach=table[:, 17], palette=palettes,
            facades=np.array(self.facades, np.float32).reshape(-1, 32),
            shadows=np.array(self.shadows, np.float32).reshape(-1, 4),
        )  # fmt: skip
