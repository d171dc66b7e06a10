"""What moves and what is parked: cars, trucks, buses, trams, motorcycles, bicycles, riders, people.

Traffic stands in slots along the street; a visit fills the slots anew as far as churn says. It is frozen during a
drive, except for the vehicle that may drive ahead of the camera. More traffic (`Visit.traffic`) takes slots that were
free and leaves all else as it is.
"""

from __future__ import annotations

import numpy as np

from vprdist.demo.looks import Floats, colour, generator, looks
from vprdist.demo.quads import Builder, Triple
from vprdist.demo.visits import LANE_M, Visit
from vprdist.demo.world import CROSSING_M, ROAD_M, Street
from vprdist.spec.demo import DemoSpec

PAINTS = colour(
    (0.85, 0.86, 0.87), (0.12, 0.12, 0.14), (0.50, 0.52, 0.55),
    (0.62, 0.08, 0.09), (0.10, 0.20, 0.45), (0.68, 0.69, 0.70),
    (0.20, 0.32, 0.26), (0.80, 0.62, 0.12), (0.30, 0.31, 0.33),
    (0.42, 0.55, 0.68), (0.45, 0.20, 0.12), (0.92, 0.92, 0.90),
)  # fmt: skip
COATS = colour(
    (0.15, 0.16, 0.20), (0.60, 0.12, 0.14), (0.16, 0.28, 0.50),
    (0.72, 0.66, 0.55), (0.28, 0.38, 0.28), (0.85, 0.84, 0.82),
    (0.85, 0.60, 0.15), (0.40, 0.26, 0.40),
)  # fmt: skip
SKINS = colour((0.88, 0.70, 0.58), (0.62, 0.44, 0.33), (0.38, 0.26, 0.20))
LAMPS = colour((0.95, 0.94, 0.85), (0.70, 0.06, 0.05))
TYRE = (0.06, 0.06, 0.065)
GLASS = (0.13, 0.16, 0.19)
KERB_M = ROAD_M - 1.05


def _pick(colours: Floats, number: float) -> Floats:
    row: Floats = colours[min(int(number * len(colours)), len(colours) - 1)]
    return row


def _parts(*five: Floats | tuple[float, float, float]) -> Floats:
    """A palette of five parts and the two lamps."""
    return np.concatenate([np.array(five, np.float32), LAMPS])


def _car(build: Builder, x: float, y: float, ahead: int, look: Floats, driving: bool) -> None:
    """A car that looks along `ahead` times x: body, hood, glass house. Its boxes come from its look."""
    u = [float(v) for v in look]
    paint = _pick(PAINTS, u[1])
    tall = u[2] > 0.78
    length, width, belt, roof = 3.8 + 0.9 * u[3], 1.74, 0.92 + 0.12 * u[4], (1.85 if tall else 1.42 + 0.12 * u[5])
    body = _parts(tuple(paint), TYRE, tuple(paint * 0.25), (0.55, 0.56, 0.58), tuple(paint * 0.8))
    end = _parts(tuple(paint * 0.95), TYRE, tuple(paint * 0.2), (0.5, 0.5, 0.5), (0.85, 0.85, 0.82))
    glass = colour(tuple(paint), GLASS, tuple(paint * 0.5))
    glow = (1.6, 0.9) if driving else (0.0, 0.0)
    a, half = ahead, length / 2
    side, cabin = ("car_side", "cabin") if a > 0 else ("car_side-", "cabin-")
    left, low = x - half, y - width / 2

    def face(origin: Triple, along: Triple, up: Triple, colours: Floats, shape: str) -> None:
        build.quad(origin, along, up, "car", colours, shape, glow=glow, reach=60)

    c0, c1 = (0.20, 0.86) if not tall else (0.16, 0.97)
    c0, c1 = (c0, c1) if a < 0 else (1 - c1, 1 - c0)
    inset = 0.13
    for s in (-1, 1):
        face((left, y + s * width / 2, 0), (length, 0, 0), (0, 0, belt), body, side)
        face((left + c0 * length, y + s * (width / 2 - 0.04), belt), ((c1 - c0) * length, 0, 0),
             (0, -s * inset, roof - belt), glass, cabin)  # fmt: skip
    for s in (-1, 1):
        face((x + s * half, low, 0.02), (0, width, 0), (0, 0, belt), end, "car_front" if s == a else "car_rear")
        edge, lean = (left + (c1 if s > 0 else c0) * length, (0.24 if s == a else 0.18) * (c1 - c0) * length)
        face((edge, low + 0.04, belt), (0, width - 0.08, 0), (-s * lean, 0, roof - belt), glass, "window")
    face((left, low, belt), (length, 0, 0), (0, width, 0), colour(tuple(paint * 1.05)), "full")
    span = (c1 - c0) * length
    face((left + c0 * length + 0.16 * span, low + inset, roof), (span * 0.64, 0, 0), (0, width - 2 * inset, 0),
         colour(tuple(paint * 1.1)), "full")  # fmt: skip
    build.shadows.append((x, y, half + 0.15, width / 2 + 0.2))


def _long(build: Builder, x: float, y: float, ahead: int, look: Floats, kind: str, driving: bool) -> None:
    """A truck, bus or train: a long box with sides and ends drawn from the atlas."""
    u = [float(v) for v in look]
    length, width, height = {"truck": (7.0, 2.2, 2.9), "bus": (11.0, 2.5, 3.1), "train": (24.0, 2.45, 3.5)}[kind]
    length, height = length * (0.9 + 0.2 * u[2]), height * (0.94 + 0.12 * u[3])
    paint = _pick(PAINTS, u[1])
    second = _pick(PAINTS, (u[1] * 7 + u[4]) % 1)
    sides = _parts(tuple(paint), GLASS, TYRE, tuple(second), (0.32, 0.33, 0.35))
    shape = {"truck": "truck_side" if ahead > 0 else "truck_side-", "bus": "bus_side", "train": "train_side"}[kind]
    glow = (1.6, 0.9) if driving else (0.0, 0.0)
    if kind != "truck" and driving:
        sides[1] = (0.30, 0.32, 0.30)
    left, low = x - length / 2, y - width / 2
    for s in (-1, 1):
        build.quad(
            (left, y + s * width / 2, 0), (length, 0, 0), (0, 0, height), kind, sides, shape, glow=glow, reach=90
        )
        rear = s != ahead
        end = "truck_rear" if kind == "truck" and rear else "bus_rear" if rear else "bus_front"
        tall = height * 0.82 if kind == "truck" and not rear else height
        build.quad((x + s * length / 2, low, 0), (0, width, 0), (0, 0, tall), kind, sides, end, glow=glow, reach=90)
    build.shadows.append((x, y, length / 2 + 0.2, width / 2 + 0.25))


def _person(build: Builder, x: float, y: float, look: Floats) -> None:
    u = [float(v) for v in look]
    colours = np.array([_pick(BARK, u[5]), _pick(SKINS, u[6]), _pick(COATS, u[1]), _pick(COATS, (u[2] * 3) % 1) * 0.5,
                        _pick(COATS, (u[3] * 5) % 1) * 0.6], np.float32)  # fmt: skip
    height = 1.58 + 0.27 * u[4]
    build.billboard((x, y, 0.0), height * 0.42, height, "person", colours, f"person{int(u[7] * 3.99)}", reach=55)
    build.shadows.append((x, y, 0.3, 0.3))


BARK = colour((0.12, 0.09, 0.07), (0.35, 0.22, 0.12), (0.60, 0.48, 0.28), (0.45, 0.45, 0.45))


def _cycle(build: Builder, x: float, y: float, ahead: int, look: Floats, kind: str, ridden: bool) -> None:
    """A bicycle or motorcycle standing along the street, with its rider when ridden."""
    u = [float(v) for v in look]
    paint = _pick(PAINTS, (u[1] * 3) % 1)
    flip = "" if ahead > 0 else "-"
    glow = (1.5, 0.9) if ridden else (0.0, 0.0)
    colours = _parts(TYRE, (0.10, 0.09, 0.09), tuple(paint), (0.45, 0.45, 0.47), TYRE)
    length, height = (1.75, 1.08) if kind == "bicycle" else (2.1, 1.2)
    build.quad(
        (x - length / 2, y, 0), (length, 0.5, 0), (0, 0, height), kind, colours, kind + flip, glow=glow, reach=50
    )
    if ridden:
        build.billboard((x, y + 0.25, 0.0), 0.62, height, kind, colours, kind + flip, glow, 50)
        who = np.array(
            [_pick(BARK, u[5]), _pick(SKINS, u[6]), _pick(COATS, u[2]), _pick(COATS, u[3]) * 0.5], np.float32
        )
        build.billboard((x, y + 0.25, 0.18), 1.15, 1.62, "rider", who, "rider" + flip, reach=60)
        build.shadows.append((x, y + 0.2, 0.9, 0.3))


def _slots(spec: DemoSpec, street: Street, drive: Visit, name: str, spacing: float) -> list[tuple[int, float, Floats]]:
    """(side, x, look) of every slot of a class, on both sides of the street."""
    count = int((street.x1 - street.x0) / spacing)
    table = looks(spec, name, street.city, street.number, 2 * count, drive.drawn_as)
    places = street.x0 + (np.arange(count) + 0.5) * spacing
    return [(1 if n < count else -1, float(places[n % count]), look) for n, look in enumerate(table)]


def _parked(build: Builder, spec: DemoSpec, street: Street, drive: Visit) -> None:
    """Vehicles at the kerb. Each class has slots of its own, taken or not: the churn of one never moves another."""
    clear = CROSSING_M / 2 + 4
    closed = [(side, x, clear - 1.5) for side in (-1, 1) for x in street.crossings]
    for side, x, look in _slots(spec, street, drive, "truck", 41):
        if any(abs(x - c) < clear + 4 for c in street.crossings):
            continue
        closed.append((side, x, 7.8))
        if look[0] < 0.25 * drive.traffic:
            _long(build, x + 2 * (float(look[8]) - 0.5), side * (KERB_M - 0.15), -side, look, "truck", driving=False)
    for side, x, look in _slots(spec, street, drive, "car", 6.2):
        free = all(s != side or abs(x - c) > half for s, c, half in closed)
        if free and look[0] < street.parking * drive.traffic:
            x += 0.8 * (float(look[8]) - 0.5)
            _car(build, x, side * KERB_M, -side if look[9] < 0.9 else side, look, driving=False)
    for side, x, look in _slots(spec, street, drive, "motorcycle", 17):
        if look[0] < 0.3 * drive.traffic:
            _cycle(build, x, side * (ROAD_M + 0.15), -side, look, "motorcycle", ridden=False)
    for side, x, look in _slots(spec, street, drive, "bicycle", 13):
        if look[0] < 0.3 * drive.traffic:
            _cycle(build, x, side * (ROAD_M + 0.7 + float(look[8])), -side, look, "bicycle", ridden=False)


LANE_SLOTS = (("train", 18.0, 0.5), ("bus", 42.0, 0.4), ("truck", 56.0, 0.2), ("car", 65.0, 0.5))
"""(class, metres into a stretch of 70 m, share): slots of the oncoming lane that never overlap."""
STRETCH_M = 70.0


def _moving(build: Builder, spec: DemoSpec, street: Street, drive: Visit) -> None:
    """Oncoming vehicles in the other lane; riders keep to the right of their lane."""
    ahead = -1 if drive.backward else 1
    count = int((street.x1 - street.x0) / STRETCH_M)
    cars = (("car", 4.0, 0.4), ("car", 17.0, 0.4), ("car", 28.0, 0.4))
    slots = LANE_SLOTS if street.tram else (*cars, *LANE_SLOTS[1:])
    for number, (name, offset, share) in enumerate(slots):
        table = looks(spec, name, street.city, street.number + 50_000 + 1000 * number, count, drive.drawn_as)
        for k, look in enumerate(table):
            x = street.x0 + k * STRETCH_M + offset + 1.5 * float(look[8])
            if look[0] >= share * drive.traffic:
                continue
            if name == "car":
                _car(build, x, ahead * LANE_M, -ahead, look, driving=True)
            else:
                _long(build, x, ahead * LANE_M, -ahead, look, name, driving=True)
    for _, x, look in _slots(spec, street, drive, "rider", 30):
        if look[0] < 0.22 * drive.traffic:
            kind = "motorcycle" if look[9] > 0.6 else "bicycle"
            side = 1 if look[10] > 0.5 else -1
            _cycle(build, x + 9 * float(look[8]), side * 2.75, -side, look, kind, ridden=True)


def leader(spec: DemoSpec, street: Street, drive: Visit, x: float) -> Builder:
    """The vehicle ahead of a camera at x, or nothing."""
    build = Builder()
    if not drive.leader_m:
        return build
    rng = generator(spec.seed, "leader", drive.city, drive.street, drive.drawn_as)
    ahead = -1 if drive.backward else 1
    # Only as much traffic churns as its recipe says: without churn nothing that drives along with a visit exists.
    if rng.random() > spec.knobs("car")[1]:
        return build
    look = rng.random(16).astype(np.float32)
    distance = drive.leader_m + 3 * np.sin(x * 0.11)
    _car(build, x + ahead * float(distance), -ahead * LANE_M, ahead, look, driving=True)
    return build


def place(build: Builder, spec: DemoSpec, street: Street, drive: Visit) -> None:
    """All traffic of a street during a visit."""
    _parked(build, spec, street, drive)
    _moving(build, spec, street, drive)
    for side, x, look in _slots(spec, street, drive, "person", 7):
        if look[0] < 0.33 * drive.traffic:
            away = ROAD_M + 0.7 + 2.0 * float(look[8])
            _person(build, x + 5 * (float(look[9]) - 0.5), side * away, look)
    count = len(street.crossings)
    crossing = looks(spec, "person", street.city, street.number + 60_000, count, drive.drawn_as)
    for x, look in zip(street.crossings, crossing, strict=True):
        if look[0] < 0.6 * drive.traffic:
            _person(build, x - CROSSING_M / 2 - 1.5, (3.5 if look[9] > 0.5 else -4.0) + 1.5 * float(look[8]), look)
