"""The world that stays: streets on the map, and the lots along them, from one seed.

A street has a frame of its own: x metres along it, y metres to the left, z metres up. Streets of a city lie on a
grid 160 m apart and more, so that no picture of one is near a picture of another.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from vprdist.demo.looks import Floats, generator, looks
from vprdist.spec.demo import DemoSpec

ROAD_M = 5.0
"""Half the width of a road: a lane of 3.1 m and parked cars."""
FRONT_M = 8.2
"""Distance of the building line from the middle of the road."""
MARGIN_M = 115.0
"""How far the street is built beyond its first and last picture."""
CROSSING_M = 11.0
BLOCK_M = 85.0
LIGHTS_M = 28.0
"""Distance of traffic lights in a street without side streets."""
SEGMENT_M = 12.0
"""Length of road, or of sidewalk, that has one look."""


@dataclass(frozen=True, kw_only=True)
class Lot:
    """A piece of land on one side (+1 left, -1 right): what stands on it, from x0 to x1."""

    side: int
    number: int
    x0: float
    x1: float
    kind: str
    """"flush" (building at the sidewalk), "garden" (house set back), "open" (green), "crossing" (a side street)."""
    border: str
    """What bounds a garden or an open lot: "fence", "wall" or "hedge"."""


@dataclass(frozen=True, kw_only=True)
class Street:
    """One street: its place on the map and its lots."""

    city: str
    number: int
    east_m: float
    north_m: float
    bearing: float
    """Direction of +x, radians clockwise from north."""
    x0: float
    x1: float
    tram: bool
    crossings: tuple[float, ...]
    lots: tuple[Lot, ...]
    green: float
    """Share of tree slots that are planted."""
    parking: float
    """Share of parking slots that are taken."""

    @property
    def light_spots(self) -> tuple[float, ...]:
        """Where traffic lights stand, metres along the street: at side streets, or else at regular distances."""
        return self.crossings or tuple(float(x) for x in np.arange(self.x0 + 14, self.x1, LIGHTS_M))

    def to_map(self, x: float, y: float) -> tuple[float, float]:
        """Easting and northing, metres."""
        sin, cos = math.sin(self.bearing), math.cos(self.bearing)
        return self.east_m + x * sin - y * cos, self.north_m + x * cos + y * sin


PLAIN_LOTS = {1: (("garden", "fence"),), -1: (("flush", "fence"), ("garden", "wall"))}
"""(kind, border) of the lots of a planted city by side, in turn: they tell of no place."""
PLAIN_LOT_M = 11.0


def _kind(look: Floats) -> tuple[str, str]:
    kind = "flush" if look[2] < 0.66 else "garden" if look[2] < 0.88 else "open"
    border = "fence" if look[3] < 0.36 else "wall" if look[3] < 0.7 else "hedge"
    return kind, border


def _lots(spec: DemoSpec, city: str, street: int, x0: float, x1: float, crossings: tuple[float, ...]) -> list[Lot]:
    out = []
    most = int((x1 - x0) / 7) + 8
    table = looks(spec, "building", city, street, 2 * most, None)
    for side, rows in ((1, table[:most]), (-1, table[most:])):
        x, number, waiting = x0, 0, list(crossings)
        while x < x1:
            look = rows[min(number, most - 1)]
            kind, border = _kind(look) if spec.planted is None else PLAIN_LOTS[side][number % len(PLAIN_LOTS[side])]
            end = x + (7.5 + 8.5 * float(look[1]) if spec.planted is None else PLAIN_LOT_M)
            if waiting and end > waiting[0] - CROSSING_M / 2 - 4:
                # A lot in front of a side street ends at its corner; one too narrow gives its land away.
                end = waiting[0] - CROSSING_M / 2
            if end - x > 2:
                out.append(Lot(side=side, number=number, x0=x, x1=end, kind=kind, border=border))
            x, number = end, number + 1
            if waiting and abs(x - (waiting[0] - CROSSING_M / 2)) < 1e-6:
                x += CROSSING_M
                waiting.pop(0)
    return out


@functools.lru_cache(maxsize=256)
def _street(text: str, city: str, number: int) -> Street:
    spec = DemoSpec.model_validate_json(text)
    town = generator(spec.seed, "town", city)
    turn = float(town.random() * 2 * math.pi)
    names = sorted(spec.cities)
    east, north = 450_000.0 + 20_000.0 * names.index(city), 6_170_000.0
    length = (spec.places + spec.strays) * spec.spacing_m + 40
    x0, x1 = -MARGIN_M, length + MARGIN_M
    rows = max(1, int(spec.streets**0.5))
    column, row = divmod(number, rows)
    along, across = column * (length + 400.0), row * 160.0
    first = x0 + 30 + BLOCK_M * float(generator(spec.seed, "blocks", city, number).random())
    natural = spec.planted is None
    crossings = tuple(float(x) for x in np.arange(first, x1 - 20, BLOCK_M)) if natural else ()
    parking = 0.4 + 0.45 * float(generator(spec.seed, "parking", city, number).random())
    bearing = turn if column % 2 == 0 else turn + math.pi
    # A street that runs the other way starts at the other end of its column.
    along += 0.0 if column % 2 == 0 else length
    sin, cos = math.sin(turn), math.cos(turn)
    return Street(
        city=city, number=number, east_m=east + along * sin - across * cos, north_m=north + along * cos + across * sin,
        bearing=bearing, x0=x0, x1=x1, tram=number % 3 == 0 or not natural, crossings=crossings,
        lots=tuple(_lots(spec, city, number, x0, x1, crossings)),
        green=0.25 + 0.5 * ((number * 0.618) % 1) if natural else 0.5, parking=parking if natural else 0.6,
    )  # fmt: skip


def street(spec: DemoSpec, city: str, number: int) -> Street:
    """The street of that number; the same object for the same spec."""
    return _street(spec.model_dump_json(by_alias=True), city, number)
