"""The light of a visit: sun, sky, fog, lamps, and what rain and snow lie on the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vprdist.demo.furniture import lamp_places
from vprdist.demo.looks import NUM_NUMBERS, NUM_STOCK, Floats, colour, generator, looks, weathering
from vprdist.demo.visits import Visit
from vprdist.demo.world import SEGMENT_M, Street
from vprdist.spec.demo import DemoSpec


@dataclass(frozen=True, kw_only=True)
class Light:
    """All colours are linear factors or radiances, (3,) float32."""

    ambient: Floats
    sun: Floats
    sun_to: Floats
    """Unit vector towards the sun, in the street's frame."""
    fog: Floats
    fog_m: float
    horizon: Floats
    zenith: Floats
    cloud: Floats
    cover: float
    """Share of the sky under clouds."""
    lamps: float
    """Strength of street lamps and lit windows; 0 by day."""
    wet: float
    snow: float
    gain: float
    profile: Floats
    """Lamp light along the street, one value a half metre from x0 on."""
    skies: Floats
    """(segments, 16) looks of the sky above each part of the street."""


_SKY = {  # (horizon, zenith, cloud, cover) by day
    "clear": ((0.78, 0.86, 0.95), (0.30, 0.52, 0.86), (0.97, 0.97, 0.98), 0.35),
    "overcast": ((0.82, 0.83, 0.85), (0.64, 0.67, 0.71), (0.76, 0.78, 0.80), 0.9),
    "rain": ((0.66, 0.69, 0.72), (0.46, 0.49, 0.54), (0.56, 0.59, 0.63), 0.95),
    "fog": ((0.78, 0.79, 0.80), (0.74, 0.75, 0.77), (0.76, 0.77, 0.78), 1.0),
    "snow": ((0.82, 0.84, 0.87), (0.70, 0.73, 0.78), (0.78, 0.80, 0.84), 0.95),
}
_SUN = {"clear": 0.75, "overcast": 0.10, "rain": 0.05, "fog": 0.03, "snow": 0.06}
_AMBIENT = {"clear": 0.50, "overcast": 0.76, "rain": 0.60, "fog": 0.72, "snow": 0.74}
_VIEW_M = {"clear": 900.0, "overcast": 600.0, "rain": 180.0, "fog": 42.0, "snow": 110.0}


def _sky_looks(spec: DemoSpec, street: Street, drive: Visit) -> Floats:
    """Looks of the sky: of the place without churn, else one for the whole drive, often from the common stock."""
    count = int((street.x1 - street.x0) / SEGMENT_M) + 2
    seen = drive.drawn_as if spec.misleads("sky", drive.drawn_as) else None
    place = looks(spec, "sky", street.city, street.number, count, seen)
    rng = generator(spec.seed, "fresh sky", drive.city, drive.street, drive.drawn_as)
    _, churn, repeat = spec.knobs("sky")
    stock = generator(spec.seed, "stock", "sky").random((NUM_STOCK, NUM_NUMBERS), np.float32)
    dice = rng.random(3)
    today = stock[int(dice[1] * NUM_STOCK)] if dice[0] < repeat else rng.random(NUM_NUMBERS, np.float32)
    changed = rng.random(count) < churn
    place[changed] = today
    return place


def light(spec: DemoSpec, street: Street, drive: Visit) -> Light:
    """The light during a visit."""
    low, high, cloud, cover = (np.array(v, np.float32) for v in _SKY[drive.weather])
    sky = np.float32(weathering(spec, "sky"))
    plain_low, plain_high, plain_cloud, plain_cover = (np.array(v, np.float32) for v in _SKY["clear"])
    horizon, zenith = plain_low + sky * (low - plain_low), plain_high + sky * (high - plain_high)
    clouds, covered = plain_cloud + sky * (cloud - plain_cloud), float(plain_cover + sky * (cover - plain_cover))
    ambient = np.float32(_AMBIENT[drive.weather]) * colour((0.95, 0.98, 1.06))[0]
    sun = np.float32(_SUN[drive.weather]) * colour((1.06, 1.0, 0.88))[0]
    lamps, gain = 0.0, 1.04
    if drive.light == "dusk":
        warm = colour((1.0, 0.62, 0.42))[0] if drive.weather == "clear" else colour((0.75, 0.68, 0.70))[0]
        horizon, zenith, clouds = horizon * warm, zenith * colour((0.42, 0.42, 0.58))[0], clouds * warm * 0.62
        ambient, sun, lamps = ambient * colour((0.52, 0.50, 0.60))[0], sun * colour((0.85, 0.48, 0.25))[0], 0.45
        gain = 1.2
    elif drive.light == "night":
        horizon = horizon * colour((0.16, 0.14, 0.13))[0]
        zenith, clouds = zenith * colour((0.035, 0.04, 0.07))[0], clouds * colour((0.11, 0.10, 0.11))[0]
        ambient, sun, lamps, gain = ambient * colour((0.13, 0.14, 0.20))[0], sun * 0.0, 1.0, 1.25
    if spec.conditions is not None and drive.weather == "fog":
        # Thick air has one colour: what is far is no brighter than the sky above it. Other cities keep their bytes.
        zenith = clouds = horizon
    turn, rise = drive.sun_azimuth, drive.sun_elevation
    sun_to = np.array([math.cos(turn) * math.cos(rise), math.sin(turn) * math.cos(rise), math.sin(rise)], np.float32)
    places = lamp_places(street)
    along = np.arange(street.x0, street.x1, 0.5, dtype=np.float32)
    profile = np.exp(-(((along[:, None] - places) / 5.5) ** 2)).sum(1).astype(np.float32)
    return Light(
        ambient=ambient, sun=sun, sun_to=sun_to, fog=(horizon * 0.97).astype(np.float32), fog_m=_VIEW_M[drive.weather],
        horizon=horizon.astype(np.float32), zenith=zenith.astype(np.float32), cloud=clouds.astype(np.float32),
        cover=covered, lamps=lamps, wet=1.0 if drive.weather == "rain" else 0.0,
        snow=1.0 if drive.weather == "snow" else 0.0, gain=gain * drive.exposure, profile=profile,
        skies=_sky_looks(spec, street, drive),
    )  # fmt: skip
