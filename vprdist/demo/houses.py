"""What is built: facades with their numbers, garden houses, walls, fences and hedges, the ends of the street."""

from __future__ import annotations

from vprdist.demo.looks import Floats, colour, looks, ramp
from vprdist.demo.quads import Builder
from vprdist.demo.visits import Visit
from vprdist.demo.world import FRONT_M, Lot, Street
from vprdist.spec.demo import DemoSpec

WALLS = colour(
    (0.52, 0.26, 0.20), (0.72, 0.66, 0.55), (0.80, 0.72, 0.50),
    (0.62, 0.62, 0.62), (0.78, 0.52, 0.38), (0.86, 0.84, 0.78),
    (0.50, 0.56, 0.62), (0.66, 0.40, 0.30), (0.58, 0.64, 0.52),
    (0.80, 0.64, 0.60), (0.42, 0.38, 0.36), (0.88, 0.78, 0.62),
)  # fmt: skip
SIGNS = colour(
    (0.75, 0.10, 0.10), (0.10, 0.25, 0.60), (0.05, 0.45, 0.25),
    (0.90, 0.70, 0.10), (0.15, 0.15, 0.17), (0.85, 0.40, 0.10),
    (0.45, 0.15, 0.45), (0.90, 0.90, 0.88), (0.10, 0.50, 0.60),
)  # fmt: skip
ROOFS = colour((0.48, 0.22, 0.16), (0.30, 0.30, 0.33), (0.56, 0.32, 0.22), (0.24, 0.22, 0.22))
STONES = colour((0.56, 0.53, 0.48), (0.62, 0.42, 0.34), (0.72, 0.69, 0.62), (0.44, 0.43, 0.42))
WOODS = colour((0.45, 0.31, 0.20), (0.82, 0.82, 0.80), (0.25, 0.33, 0.27), (0.22, 0.22, 0.24))
SETBACK_M = 6.5


def _pick(colours: Floats, number: float) -> Floats:
    row: Floats = colours[min(int(number * len(colours)), len(colours) - 1)]
    return row


def facade_numbers(look: Floats, width: float, height: float, blank: bool = False, house: bool = False) -> list[float]:
    """The 32 numbers of a facade that `shade.facade` draws; metres, colours 0..1."""
    u = [float(v) for v in look]
    wall = _pick(WALLS, u[4]) * (0.86 + 0.22 * u[5])
    trim = ramp(colour((0.92, 0.90, 0.86), (0.70, 0.66, 0.60), (0.35, 0.33, 0.32)), (u[6] * 7) % 1)
    glass = colour((0.20, 0.24, 0.28), (0.26, 0.28, 0.28))[int(u[7] * 2) % 2]
    sign, accent = _pick(SIGNS, (u[8] * 5) % 1), _pick(SIGNS, (u[9] * 7) % 1) * 0.85
    floor = 2.9 + 0.9 * u[10]
    bays = max(1, round(width / (2.1 + 2.0 * u[11])))
    ground = 2 if house else (1 if u[12] < 0.55 else 2)
    balcony = int((u[13] * 3.7) % 4) if u[13] > 0.35 else 0
    seed = float(int(u[14] * 4096))
    return [
        *wall, *trim, *glass, *sign, *accent, width / bays, floor, 0.34 + 0.34 * ((u[11] * 9) % 1),
        0.42 + 0.26 * ((u[10] * 9) % 1), 0 if blank else ground, width * (0.15 + 0.7 * ((u[12] * 11) % 1)), balcony,
        1.0 if (u[9] * 13) % 1 < 0.35 else 0.0, 1.0 if u[4] < 0.1 or (u[5] * 5) % 1 < 0.3 else 0.25,
        seed, width, height,
        0.25 + 0.4 * ((u[14] * 3) % 1), 1.0 if (u[8] * 3) % 1 < 0.5 else 0.0, 1.0 if blank else 0.0,
        0.95 if sum(sign) < 1.4 else 0.1, (u[6] * 3) % 1,
    ]  # fmt: skip


def _box(build: Builder, lot: Lot, look: Floats, front: float, depth: float, height: float, house: bool) -> None:
    """Front and both side walls of a building; the front faces the street."""
    s, width = lot.side, lot.x1 - lot.x0
    none = colour((0, 0, 0))
    numbers = facade_numbers(look, width, height, house=house)
    build.quad((lot.x0, s * front, 0), (width, 0, 0), (0, 0, height), "building", none, facade=numbers)
    side = facade_numbers(look, depth, height, blank=True)
    for x in (lot.x0, lot.x1):
        build.quad((x, s * front, 0), (0, s * depth, 0), (0, 0, height), "building", none, facade=side)


def _roof(build: Builder, lot: Lot, look: Floats, front: float, height: float, rise: float, depth: float) -> None:
    """A slope up from the eaves; seen from the street its ridge is the skyline. Gables close the ends."""
    tint = _pick(ROOFS, float(look[15] * 3) % 1)
    colours = colour(tuple(tint), tuple(tint * 0.85), tuple(tint * 0.65))
    s, width = lot.side, lot.x1 - lot.x0
    eaves = (lot.x0 - 0.2, s * (front - 0.35), height - 0.1)
    repeat = (max(1.0, width / 5), 1.0)
    build.quad(eaves, (width + 0.4, 0, 0), (0, s * depth, rise), "building", colours, "tiles", repeat)
    for x in (lot.x0, lot.x1):
        wall = colour(tuple(_pick(WALLS, float(look[4])) * 0.85))
        build.quad((x, s * front, height), (0, s * depth * 1.9, 0), (0, 0, rise), "building", wall, "gable")
    if look[15] > 0.5:
        chimney = colour((0.40, 0.26, 0.22))
        build.billboard((lot.x0 + width * 0.3, s * (front + depth * 0.6), height), 0.9, rise + 0.9, "building", chimney)


def _border(build: Builder, lot: Lot, look: Floats, leaf: Floats) -> None:
    s, width = lot.side, lot.x1 - lot.x0
    start, along = (lot.x0, s * (FRONT_M + 0.05), 0.0), (width, 0.0, 0.0)
    number = float(look[4])
    if lot.border == "fence":
        height = 1.0 + 0.8 * float(look[5])
        tint = _pick(WOODS, number)
        colours = colour(tuple(tint), tuple(tint * 0.75))
        shape = "mesh" if look[6] > 0.72 else "pickets"
        build.quad(start, along, (0, 0, height), "fence", colours, shape, (width / 1.6, 1), reach=70)
    elif lot.border == "wall":
        height = 0.9 + 1.5 * float(look[5])
        tint = _pick(STONES, number) * (0.85 + 0.3 * float(look[6]))
        colours = colour(tuple(tint), tuple(tint * 0.88), tuple(tint * 0.68), tuple((tint * 1.15).clip(0, 1)))
        build.quad(start, along, (0, 0, height), "wall", colours, "bricks", (width / 2.6, 1), reach=90)
    else:
        build.quad(start, along, (0, 0, 1.1 + 0.8 * float(look[5])), "vegetation", leaf, "hedge", (width / 2.5, 1))


def _ends(build: Builder, spec: DemoSpec, street: Street) -> None:
    """The street ends at a building that stands across it, far away; on both sides lie trees behind the lots."""
    table = looks(spec, "building", street.city, street.number + 10_000, 2, None)
    for look, x in zip(table, (street.x0 - 6, street.x1 + 6), strict=True):
        height = 11 + 14 * float(look[5])
        numbers = facade_numbers(look, 40, height)
        build.quad((x, -20, 0), (0, 40, 0), (0, 0, height), "building", colour((0, 0, 0)), reach=9e9, facade=numbers)


def place(build: Builder, spec: DemoSpec, street: Street, drive: Visit, leaf: Floats) -> None:
    """All buildings and borders of a street during a visit; `leaf` is (4, 3), the hedges' colours."""
    most = 1 + max(lot.number for lot in street.lots)
    number = street.number
    buildings = looks(spec, "building", street.city, number, 2 * most, drive.drawn_as)
    borders = {
        c: looks(spec, c, street.city, number, 2 * most, drive.drawn_as) for c in ("wall", "fence", "vegetation")
    }
    for lot in street.lots:
        row = lot.number + (most if lot.side < 0 else 0)
        look = buildings[row]
        border = "vegetation" if lot.border == "hedge" else lot.border
        if lot.kind == "flush":
            height = 6.5 + 13 * float((look[10] * 3 + look[4] * 2) % 1)
            _box(build, lot, look, FRONT_M, 10, height, house=False)
            if look[15] > 0.35:
                _roof(build, lot, look, FRONT_M, height, 2.6, 3.2)
        else:
            _border(build, lot, borders[border][row], leaf)
        if lot.kind == "garden":
            height = 4.5 + 3 * float(look[5])
            front = FRONT_M + SETBACK_M
            _box(build, lot, look, front, 9, height, house=True)
            _roof(build, lot, look, front, height, 3.4, 4.5)
    if spec.planted is None:  # its size tells how far along the street a picture was taken
        _ends(build, spec, street)
    length = street.x1 - street.x0
    for side in (-1, 1):
        low = (street.x0, side * 42.0, 0.0)
        build.quad(low, (length, 0, 0), (0, 0, 9), "vegetation", leaf * 0.9, "treeline", (length / 25, 1), reach=9e9)
