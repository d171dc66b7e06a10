"""Visits: one drive along one street, its weather, light, season and camera, and the poses of its pictures."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import math
from dataclasses import dataclass
from typing import Any

from vprdist.demo.looks import generator
from vprdist.spec.conditions import Condition
from vprdist.spec.demo import DemoSpec

LANE_M = 1.6
"""Distance of a lane's middle from the street's middle line."""

SEASONS = ("spring", "summer", "autumn", "winter")


STEADY: dict[str, Any] = {
    "weather": "clear", "light": "day", "season": "summer", "exposure": 1.0, "balance": (1.0, 1.0, 1.0),
    "sun_azimuth": 0.6, "sun_elevation": 0.9,
}  # fmt: skip
"""The state of a planted city whose sky is no noise: what carries looks the same in all visits."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """The state of the world and of the camera during one drive."""

    city: str
    street: int
    number: int
    drawn_as: int
    """Number of the visit whose draws it has: its own, but for a query drive that repeats one of the database."""
    side: str
    """"database" or "query"."""
    weather: str
    light: str
    """"day", "dusk" or "night"."""
    season: str
    date: datetime.date
    backward: bool
    """Driven against the street's direction."""
    lateral_m: float
    camera_height_m: float
    view_degrees: float
    """Horizontal opening of the lens."""
    exposure: float
    balance: tuple[float, float, float]
    sun_azimuth: float
    sun_elevation: float
    leader_m: float
    """Distance of the vehicle that drives ahead; 0 when the lane is free."""
    traffic: float
    """As many times the usual vehicles and people."""
    seed: int

    @property
    def sequence_key(self) -> str:
        return f"{self.city}-{self.street:03d}-{self.number:02d}"


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where one picture is taken, in the street's frame: x along, y to the left, radians anticlockwise."""

    key: str
    frame: int
    place: int
    x: float
    y: float
    yaw: float
    pitch: float
    roll: float
    noise_east_m: float
    noise_north_m: float
    pano: bool
    seed: int


def _pick(draw: float, choices: dict[str, float]) -> str:
    """The choice in whose share of the unit interval the draw falls."""
    for name, share in choices.items():
        draw -= share
        if draw < 0:
            return name
    return next(iter(choices))


def _date(season: str, year: int, day: float) -> datetime.date:
    first = {"winter": 1, "spring": 4, "summer": 6, "autumn": 9}[season]
    return datetime.date(year, first, 1) + datetime.timedelta(days=int(day * 60))


@functools.lru_cache(maxsize=4096)
def _draw(seed: int, city: str, street: int, number: int, side: str, condition: Condition) -> Visit:
    """A visit as it is drawn, but for what the condition says: no other number changes with it."""
    rng = generator(seed, "visit", city, street, number)
    u = rng.random(20)
    day = {"day": 0.78, "dusk": 0.12, "night": 0.10} if side == "database" else {"day": 0.6, "dusk": 0.2, "night": 0.2}
    light = condition.time or _pick(u[0], day)
    # Thirds of the year in turn, so that even a small city has summers and winters on both sides.
    season = SEASONS[(int(u[1] * 1.7) + number + street) % 4]
    cold = season == "winter"
    snow, fog = (0.35, 0.12) if cold else (0.0, 0.12)
    shares = {"clear": 0.38 - snow / 3, "rain": 0.16 - snow / 3, "fog": fog, "snow": snow, "overcast": 1.0}
    weather = condition.weather or _pick(u[2], shares)
    traffic = 1.0 if condition.traffic is None else condition.traffic
    # Database drives come first: the years of a street only grow.
    year = 2011 + int(generator(seed, "years", city, street).random() * 5) + number
    height = {"day": 0.35 + 0.65 * u[5], "dusk": 0.14, "night": 0.5}[light]
    return Visit(
        city=city, street=street, number=number, drawn_as=number, side=side, traffic=traffic,
        weather=weather, light=light, season=season,
        date=_date(season, year, u[4]), backward=bool(side == "query" and u[6] < 0.10),
        lateral_m=0.6 * (u[7] - 0.5), camera_height_m=1.6 + 0.25 * (u[8] - 0.5), view_degrees=74 + 14 * u[9],
        exposure=math.exp(0.30 * (u[10] - 0.5)),
        balance=(1 + 0.12 * (u[11] - 0.5), 1.0, 1 + 0.16 * (u[12] - 0.5)),
        sun_azimuth=2 * math.pi * u[13], sun_elevation=height * math.radians(62),
        leader_m=9 + 22 * u[15] if u[14] < 0.35 * traffic else 0.0, seed=int(u[16] * 2**31),
    )  # fmt: skip


def visit(spec: DemoSpec, city: str, street: int, number: int) -> Visit:
    """The visit of that number; database visits come first, in number and in time."""
    side = "database" if number < spec.database_visits else "query"
    condition = spec.condition(city, side)
    if spec.conditions is not None and side == "query":
        repeated = number - spec.database_visits
        drive = _draw(spec.seed, city, street, repeated, "database", condition)
        later = datetime.timedelta(days=365 * spec.database_visits)  # in the same season of a later year
        return dataclasses.replace(drive, number=number, side=side, date=drive.date + later)
    drawn = _draw(spec.seed, city, street, number, side, condition)
    if spec.planted is None or "sky" in spec.planted.noise:
        return drawn
    return dataclasses.replace(drawn, **STEADY)


def visits(spec: DemoSpec, city: str, side: str) -> list[Visit]:
    """All drives of one side of a city, street by street."""
    first, last = (0, spec.database_visits) if side == "database" else (spec.database_visits, None)
    numbers = range(spec.database_visits + spec.query_visits)[first:last]
    return [visit(spec, city, street, number) for street in range(spec.streets) for number in numbers]


def poses(spec: DemoSpec, drive: Visit) -> list[Pose]:
    """The pictures of a drive in the order they were taken."""
    rng = generator(spec.seed, "poses", drive.city, drive.street, drive.drawn_as)
    strays = spec.strays if drive.side == "query" else 0
    places = list(range(spec.places + strays))
    shift = 0.0
    if spec.planted is not None:
        # Rows of trees and lamps tell the place by where they stand in the picture, unless each drive stops elsewhere.
        shift = float(generator(spec.seed, "stops", drive.city, drive.street, drive.number).random()) - 0.5
    found: list[Pose] = []
    for place in reversed(places) if drive.backward else places:
        n, u = rng.normal(size=8), rng.random(3)
        x = (place + shift) * spec.spacing_m + 0.8 * n[0].clip(-2, 2)
        if place >= spec.places:
            # Past the last database picture: no positive within 25 m, whatever the noise.
            x += 40.0
        lane = LANE_M if drive.backward else -LANE_M
        found.append(
            Pose(
                key=f"{drive.sequence_key}-{place:04d}", frame=len(found), place=place, x=float(x),
                y=float(lane + drive.lateral_m + 0.12 * n[1]),
                yaw=float((math.pi if drive.backward else 0.0) + math.radians(2.5) * n[2]),
                pitch=float(math.radians(1.2) * n[3] + math.radians(2.0)), roll=float(math.radians(0.9) * n[4]),
                noise_east_m=float(0.8 * n[5].clip(-2.5, 2.5)), noise_north_m=float(0.8 * n[6].clip(-2.5, 2.5)),
                pano=bool(u[0] < spec.pano_share), seed=int(u[1] * 2**31),
            )
        )  # fmt: skip
    return found


def subtasks(drive: Visit) -> dict[str, bool]:
    """MSLS' subtask columns of every picture of a drive.

    The first letter speaks of the query, the last of the database: s2w has summer queries and winter
    databases. Old is up to 2013, new from 2015 on; the year between, spring, autumn and dusk are neither.
    """
    state = {
        "s": drive.season == "summer", "w": drive.season == "winter", "o": drive.date.year <= 2013,
        "n": drive.date.year >= 2015, "d": drive.light == "day", "night": drive.light == "night",
    }  # fmt: skip
    pairs = {"s2w": "sw", "w2s": "ws", "o2n": "on", "n2o": "no"}
    end = 0 if drive.side == "query" else 1
    out = {"all": True} | {name: state[ends[end]] for name, ends in pairs.items()}
    return out | {"d2n": (state["d"], state["night"])[end], "n2d": (state["night"], state["d"])[end]}
