"""What stands along the street: trees and gardens, lamps, poles, traffic lights and signs."""

from __future__ import annotations

import numpy as np

from vprdist.demo import atlas
from vprdist.demo.looks import COMMON, Floats, colour, looks, weathering
from vprdist.demo.quads import Builder
from vprdist.demo.visits import Visit
from vprdist.demo.world import CROSSING_M, FRONT_M, ROAD_M, Street
from vprdist.spec.demo import DemoSpec

LEAVES = {
    "spring": colour((0.24, 0.40, 0.12), (0.36, 0.54, 0.18), (0.48, 0.66, 0.25), (0.62, 0.76, 0.36)),
    "summer": colour((0.09, 0.20, 0.07), (0.16, 0.32, 0.10), (0.24, 0.42, 0.14), (0.36, 0.53, 0.20)),
    "autumn": colour((0.34, 0.17, 0.05), (0.52, 0.27, 0.07), (0.68, 0.41, 0.10), (0.80, 0.57, 0.18)),
    "winter": colour((0.13, 0.17, 0.11), (0.21, 0.25, 0.16), (0.30, 0.32, 0.22), (0.40, 0.41, 0.31)),
}
BARE = colour((0.27, 0.22, 0.18), (0.34, 0.29, 0.25))
BARK = colour((0.34, 0.26, 0.19), (0.22, 0.17, 0.13))
METALS = colour((0.35, 0.36, 0.38), (0.20, 0.26, 0.23), (0.55, 0.56, 0.57), (0.16, 0.16, 0.18))
FACES = {
    "red ring": colour((0.93, 0.93, 0.92), (0.80, 0.08, 0.08), (0.12, 0.12, 0.13)),
    "blue": colour((0.08, 0.27, 0.62), (0.90, 0.91, 0.92), (0.93, 0.94, 0.95)),
    "yellow": colour((0.93, 0.75, 0.10), (0.15, 0.14, 0.12), (0.12, 0.12, 0.12)),
    "stop": colour((0.75, 0.06, 0.08), (0.92, 0.92, 0.92), (0.95, 0.95, 0.95)),
    "green": colour((0.04, 0.42, 0.25), (0.92, 0.93, 0.92), (0.94, 0.95, 0.94)),
    "brown": colour((0.42, 0.24, 0.12), (0.93, 0.92, 0.90), (0.95, 0.94, 0.92)),
}
SIGN_KINDS = (
    (0, "red ring"), (0, "stop"), (1, "blue"), (2, "red ring"), (3, "red ring"), (4, "yellow"), (5, "blue"),
    (6, "blue"), (7, "green"), (7, "blue"), (7, "brown"), (6, "yellow"), (1, "red ring"),
)  # fmt: skip


def leaves(spec: DemoSpec, drive: Visit) -> Floats:
    """Colours of foliage in the season of a visit, dark to light, (4, 3)."""
    part = np.float32(weathering(spec, "vegetation"))
    snowy = np.float32(0.5 if drive.weather == "snow" else 0)
    season = LEAVES[drive.season] * (1 - snowy) + snowy * colour((0.45, 0.47, 0.5), (0.6, 0.62, 0.64),
                                                                (0.85, 0.87, 0.9), (0.95, 0.96, 0.98))  # fmt: skip
    mixed: Floats = (LEAVES["summer"] * (1 - part) + season * part).astype(np.float32)
    return mixed


def _tree(build: Builder, x: float, y: float, look: Floats, leaf: Floats, bare: bool) -> None:
    u = [float(v) for v in look]
    height, width = 4.2 + 3.6 * u[1], 3.0 + 2.4 * u[2]
    trunk = 1.7 + 0.9 * u[3]
    build.billboard((x, y, 0), 0.26 + 0.2 * u[2], trunk + height * (0.1 if bare else 0.3), "vegetation", BARK, "trunk")
    tint = np.array([0.88 + 0.3 * u[4], 0.94 + 0.14 * u[5], 0.80 + 0.3 * u[6]], np.float32)
    if bare and u[7] < 0.8:
        build.billboard((x, y, trunk), width, height, "vegetation", BARE, f"bare{int(u[8] * 2.99)}")
        return
    shape = f"crown{min(int(u[8] * atlas.NUM_CROWNS), atlas.NUM_CROWNS - 1)}"
    build.billboard((x, y, trunk - 0.25), width, height, "vegetation", leaf * tint, shape)


def _trees(build: Builder, spec: DemoSpec, street: Street, drive: Visit, leaf: Floats) -> None:
    bare = drive.season == "winter" and weathering(spec, "vegetation") > 0.5
    slots = int((street.x1 - street.x0) / 11)
    table = looks(spec, "vegetation", street.city, street.number + 20_000, 2 * slots, drive.drawn_as)
    for number, look in enumerate(table):
        side = 1 if number < slots else -1
        x = street.x0 + (number % slots + 0.5) * 11 + 5 * (float(look[9]) - 0.5)
        if look[0] < street.green and all(abs(x - c) > CROSSING_M / 2 + 2 for c in street.crossings):
            _tree(build, x, side * (ROAD_M + 0.9), look, leaf, bare)
            build.shadows.append((x, side * (ROAD_M + 0.9), 1.6, 1.2))
    gardens = looks(spec, "vegetation", street.city, street.number + 30_000, len(street.lots), drive.drawn_as)
    for lot, look in zip(street.lots, gardens, strict=True):
        if lot.kind == "flush":
            continue
        x = lot.x0 + (lot.x1 - lot.x0) * float(0.2 + 0.6 * look[9])
        _tree(build, x, lot.side * (FRONT_M + 2.5 + 2 * float(look[10])), look, leaf, bare)
        if lot.kind == "open":
            for k in range(3):
                spot = lot.x0 + (lot.x1 - lot.x0) * (0.15 + 0.35 * k)
                away = lot.side * (FRONT_M + 9 + 6 * float(look[11 + k]))
                _tree(build, spot, away, np.roll(look, 3 * k + 1), leaf, bare)


def _pole(build: Builder, x: float, y: float, height: float, metal: Floats, width: float = 0.15) -> None:
    build.billboard((x, y, 0), width, height, "pole", metal, reach=70)


def _lamps(build: Builder, spec: DemoSpec, street: Street, drive: Visit) -> None:
    places = lamp_places(street)
    table = looks(spec, "pole", street.city, street.number, len(places), drive.drawn_as)
    for number, (x, look) in enumerate(zip(places, table, strict=True)):
        side = 1 if number % 2 else -1
        metal = METALS[min(int(look[1] * 4), 3)][None]
        x = float(x + 5 * (look[2] - COMMON))
        y, height = side * (ROAD_M + 0.45), 5.4 + 2.4 * float(look[3])
        _pole(build, x, y, height, metal, 0.16)
        build.quad((x, y, height), (0, -side * 1.5, 0.15), (0, 0, 0.13), "pole", metal, reach=70)
        head = np.concatenate([metal * 0.6] * 5 + [colour((1.0, 0.86, 0.6))] * 2)
        build.quad((x - 0.2, y - side * 1.9, height), (0, side * 0.9, 0), (0, 0, 0.22), "pole", head, "light1",
                   glow=(2.2, 2.2), reach=70)  # fmt: skip


def lamp_places(street: Street) -> Floats:
    """Where lamps stand, metres along the street; sides take turns."""
    return np.arange(street.x0 + 9, street.x1, 21.0, dtype=np.float32)


def _signs(build: Builder, spec: DemoSpec, street: Street, drive: Visit) -> None:
    slots = int((street.x1 - street.x0) / 14)
    table = looks(spec, "traffic sign", street.city, street.number, 2 * slots, drive.drawn_as)
    poles = looks(spec, "pole", street.city, street.number + 40_000, 2 * slots, drive.drawn_as)
    for number, (look, pole) in enumerate(zip(table, poles, strict=True)):
        if look[0] > 0.72:
            continue
        side = -1 if number < slots else 1
        x = street.x0 + (number % slots + 0.3) * 14 + 8 * (float(look[1]) - 0.4)
        y, foot = side * (ROAD_M + 0.55), 2.1 + 0.5 * float(look[2])
        kind, face = SIGN_KINDS[min(int(look[3] * len(SIGN_KINDS)), len(SIGN_KINDS) - 1)]
        wide, tall = (1.3 + 0.9 * float(look[4]), 0.75) if kind == 7 else (0.85, 0.85)
        _pole(build, x, y, foot + tall, METALS[min(int(pole[1] * 4), 3)][None], 0.09)
        # Drivers keep right: signs on the right (y < 0) look back along x, those on the left look ahead.
        front, back = x + 0.07 * side, x + 0.09 * side
        start = (front, y - side * wide / 2, foot)
        build.quad(start, (0, side * wide, 0), (0, 0, tall), "traffic sign", FACES[face], f"sign{kind}", reach=75)
        grey = colour((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        start = (back - 0.04 * side, y - side * wide / 2, foot)
        build.quad(start, (0, side * wide, 0), (0, 0, tall), "traffic sign", grey, f"sign{kind}", reach=75)
        if look[5] > 0.6:
            kind, face = SIGN_KINDS[int(look[6] * 6.99)]
            start = (front, y - side * 0.4, foot - 0.85)
            build.quad(start, (0, side * 0.8, 0), (0, 0, 0.8), "traffic sign", FACES[face], f"sign{kind}", reach=75)


def _lights(build: Builder, spec: DemoSpec, street: Street, drive: Visit) -> None:
    """Traffic lights at side streets: one at the kerb for each direction, some hanging over the road."""
    spots = street.light_spots
    count = 4 * len(spots)
    table = looks(spec, "traffic light", street.city, street.number, count, drive.drawn_as)
    case = colour((0.10, 0.11, 0.10), (0.10, 0.10, 0.10), (0.24, 0.22, 0.20), (0, 0, 0), (0, 0, 0))
    lamp = {0: (0.95, 0.12, 0.08), 1: (0.98, 0.65, 0.08), 2: (0.10, 0.85, 0.45)}
    for number, look in enumerate(table):
        crossing, corner = divmod(number, 4)
        if look[0] > 0.85:
            continue
        ahead, side = (1 if corner % 2 else -1), (1 if corner // 2 else -1)
        x = spots[crossing] + ahead * (CROSSING_M / 2 + 0.5)
        y, height = side * (ROAD_M + 0.5), 2.6 + 0.9 * float(look[1])
        state = 0 if look[2] < 0.5 else 2 if look[2] < 0.9 else 1
        colours = np.concatenate([case, colour(lamp[state])])
        metal = METALS[int(look[3] * 3.99)][None]
        _pole(build, x, y, height + 0.5, metal, 0.14)
        build.billboard((x, y, height), 0.42, 1.15, "traffic light", colours, f"light{state}", (1.3, 1.3), 75)
        if look[4] > 0.35:
            build.quad((x, y, 5.6), (0, -side * 3.6, 0), (0, 0, 0.13), "pole", metal, reach=75)
            _pole(build, x, y, 5.7, metal, 0.16)
            build.billboard(
                (x, y - side * 3.5, 4.7), 0.42, 1.15, "traffic light", colours, f"light{state}", (1.3, 1.3), 75
            )


def place(build: Builder, spec: DemoSpec, street: Street, drive: Visit, leaf: Floats) -> None:
    """All trees, poles, lights and signs of a street during a visit."""
    _trees(build, spec, street, drive, leaf)
    _lamps(build, spec, street, drive)
    _signs(build, spec, street, drive)
    _lights(build, spec, street, drive)
