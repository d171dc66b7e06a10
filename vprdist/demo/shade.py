"""Shading: the colour of what each ray meets, all facades at once, all ground at once, all sky at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vprdist.demo import atlas
from vprdist.demo.light import Light
from vprdist.demo.looks import TRAIN_ID, Floats, colour, dot
from vprdist.demo.world import BLOCK_M, CROSSING_M, FRONT_M, ROAD_M, SEGMENT_M, Street

Mask = NDArray[np.bool_]
_FLAT: Floats = atlas.noise().ravel()


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The ground of a street: looks by segment, and which parts lie green or under a side street.

    Attributes:
        road, sidewalk, terrain: (segments, 16) looks.
        green: (2, half metres) bool, left then right; crossing: (half metres,) bool.
        covers: weathering of road, sidewalk and terrain, how far snow and rain may change them.
        grass: (3,) colour of the season.
    """

    street: Street
    road: Floats
    sidewalk: Floats
    terrain: Floats
    green: NDArray[np.bool_]
    crossing: NDArray[np.bool_]
    covers: tuple[float, float, float]
    grass: Floats


def _hash(*whole: Floats) -> Floats:
    """A number in [0, 1) for every combination of whole numbers."""
    mixed = np.zeros(whole[0].shape, np.uint32)
    for values in whole:
        mixed = (mixed ^ values.astype(np.int32).astype(np.uint32)) * np.uint32(2654435761)
        mixed ^= mixed >> np.uint32(15)
    return ((mixed * np.uint32(2246822519)) >> np.uint32(8)).astype(np.float32) / np.float32(2**24)


def _noise(x: Floats, y: Floats) -> Floats:
    """Clouds of the atlas at (x, y), one cell a unit."""
    return np.take(_FLAT, ((x.astype(np.int32) & 255) << 8) | (y.astype(np.int32) & 255))


def _put(rgb: Floats, where: Mask, paint: Floats) -> None:
    """Paint rows of rgb; `paint` is (3,) or (n, 3)."""
    np.copyto(rgb, paint, where=where[:, None])


def facade(f: Floats, u: Floats, z: Floats, depth: Floats, lamps: float) -> tuple[Floats, Floats]:
    """Colour and own light of points of facades: f (32, n) numbers, u and z metres from the lower corner.

    Returns albedo and emission, (n, 3) each.
    """
    bay, floor, width, height = f[15], f[16], f[25], f[26]
    i, j = np.floor(u / bay), np.floor(z / floor)
    fx, fy = u / bay - i, z / floor - j
    dx, dy = np.abs(fx - 0.5), np.abs(fy - 0.55)
    half_w, half_h = 0.5 * f[17], 0.5 * f[18]
    ground, kind, blank = j == 0, f[19], f[29] > 0
    chance = _hash(i + 31 * j, f[24], blank.astype(np.float32))
    fine = np.clip(1.4 - depth / 28, 0, 1)

    tone = 0.95 + 0.10 * _noise(u * 9 + f[24], z * 9) + 0.09 * (_noise(u * 1.7 + f[24], z * 1.1) - 0.5)
    joint = ((z * 5.5) % 1 < 0.22) | ((u * 2.2 + 0.5 * np.floor(z * 5.5)) % 1 < 0.1)
    tone -= 0.16 * f[23] * joint * fine
    rgb = f[0:3].T * (tone * np.where(blank, 0.86, 1.0))[:, None]
    glow = np.zeros_like(rgb)
    upper = (z < height - 0.45 * floor) & ((j + 1) * floor < height + 0.1)
    _put(rgb, (fy < 0.07) & ~ground & (f[31] > 0.4) & ~blank, f[3:6].T * 0.92)

    shop = ground & (kind == 1)
    frame = (dx < half_w + 0.05) & (dy < half_h + 0.04)
    pane = (dx < half_w) & (dy < half_h)
    open_wall = upper & ~shop & (~blank | (chance > 0.72))
    shutters = (f[22] > 0) & ~blank & (dx < half_w + 0.15) & (dy < half_h) & ~pane
    _put(rgb, open_wall & shutters & (dx < 0.49), f[12:15].T * (0.8 + 0.2 * (fy * 14 % 1 > 0.3))[:, None])
    _put(rgb, open_wall & frame, f[3:6].T)
    sheen = (0.65 + 0.9 * fy * (0.4 + 0.6 * chance))[:, None]
    curtain = (chance > 0.55) & (dx > half_w * 0.55)
    glass = f[6:9].T * sheen
    glass[curtain] = colour((0.62, 0.58, 0.52))
    glass[(dx < 0.02) | (np.abs(fy - 0.62) < 0.018)] = colour((0.75, 0.73, 0.70))
    _put(rgb, open_wall & pane, glass)
    if lamps > 0:
        lit = open_wall & pane & (_hash(i, j, f[24] + 9) < f[27])
        warm = colour((0.95, 0.74, 0.42), (0.85, 0.80, 0.66), (1.0, 0.62, 0.30))[(chance * 2.99).astype(int)]
        _put(glow, lit, warm * (lamps * (0.55 + 0.4 * fy))[:, None])

    # Balconies hang before the lower half of the windows of upper floors.
    balcony = (f[21] > 0) & ~ground & ~blank & upper & ((i % np.maximum(f[21], 1)) == 0) & (dx < half_w + 0.16)
    rail = balcony & (fy < 0.36)
    bars = rail & ((fx * 14 % 1 < 0.45) | (fy < 0.08) | (fy > 0.31))
    _put(rgb, bars, f[12:15].T * 0.45)
    glow[bars] = 0

    # The ground floor: a shop with its sign and awning, or a house door.
    if shop.any():
        middle = np.abs(u - width / 2) / width
        window = shop & (fy < 0.66) & (fy > 0.12) & (dx < 0.46) & (middle < 0.48)
        display = colour((0.24, 0.25, 0.27)) * (0.7 + 0.9 * _hash(np.floor(u * 2.2), np.floor(z * 1.6), f[24]))[:, None]
        _put(rgb, shop & (fy < 0.7), f[12:15].T * 0.5)
        _put(rgb, window, display)
        board = shop & (fy > 0.71) & (fy < 0.95) & (middle < 0.47)
        _put(rgb, board, f[9:12].T)
        letter = board & (np.abs(fy - 0.83) < 0.065) & (middle < 0.30) & (_hash(np.floor(u * 3.2), f[24]) > 0.22)
        letter &= (u * 3.2 % 1 < 0.72) & ~((_hash(np.floor(u * 3.2) + 5, f[24]) > 0.5) & (np.abs(fy - 0.83) < 0.02))
        _put(rgb, letter, np.repeat(f[30:31].T, 3, 1))
        awning = shop & (f[28] > 0) & (fy > 0.52) & (fy < 0.70) & (middle < 0.45)
        stripe = (u * 1.6 % 1 < 0.5)[:, None]
        _put(rgb, awning, np.where(stripe, f[9:12].T, np.float32(0.88)))
        if lamps > 0:
            _put(glow, window & ~awning, display * colour((2.2, 1.9, 1.4)) * np.float32(lamps))
            _put(glow, board, rgb * np.float32(0.6 * lamps))
    door = (kind > 0) & ground & ~blank & (np.abs(u - f[20]) < 0.62) & (z < 2.35)
    _put(rgb, door, f[3:6].T * 0.9)
    leaf = door & (np.abs(u - f[20]) < 0.48) & (z < 2.2)
    _put(rgb, leaf, f[12:15].T * 0.8)
    _put(rgb, leaf & (z > 1.75), colour((0.25, 0.26, 0.28)))
    glow[door] = 0
    cornice = (z > height - 0.55) & ~blank
    _put(rgb, cornice, f[3:6].T * (0.8 + 0.2 * (z > height - 0.25))[:, None])
    _put(rgb, ground & (z < 0.45), rgb * np.float32(0.72))
    return rgb, glow


def _segment(table: Floats, x: Floats, street: Street) -> tuple[Floats, NDArray[np.int32]]:
    index = np.clip((x - street.x0) / SEGMENT_M, 0, len(table) - 1).astype(np.int32)
    return np.take(table.T, index, axis=1), index


def _side_streets(x: Floats, street: Street) -> Floats:
    """Distance to the middle of the nearest side street, metres."""
    if not street.crossings:
        return np.full(x.shape, 1e3, np.float32)
    return np.asarray(np.abs((x - street.crossings[0] + BLOCK_M / 2) % BLOCK_M - BLOCK_M / 2), np.float32)


def ground(g: Ground, x: Floats, y: Floats, depth: Floats, light: Light) -> tuple[Floats, NDArray[np.uint8]]:
    """Albedo (n, 3) and label (n,) of points of the ground."""
    street, side = g.street, np.abs(y)
    half = np.clip((x - street.x0) * 2, 0, len(g.crossing) - 1).astype(np.int32)
    fine = np.clip(1.3 - depth / 45, 0, 1)
    grain = _noise(x * 14, y * 14) - 0.5
    coarse = _noise(x * 2.3 + 40, y * 2.3) - 0.5

    look, segment = _segment(g.road, x, street)
    tone = 0.27 + 0.12 * (look[1] - 0.4) + 0.06 * grain * fine + 0.05 * coarse
    patch = (np.abs(y - 6 * (look[2] - 0.5)) < 0.4 + 1.2 * look[3]) & (look[4] > 0.6)
    patch &= np.abs((x - street.x0) / SEGMENT_M - segment - look[5]) < 0.15 + 0.2 * look[6]
    tone = np.where(patch, tone * 0.72, tone)
    rgb = np.stack([tone, tone, tone * 1.03], 1)
    away = _side_streets(x, street)
    white = np.float32(0.78) - 0.2 * coarse - 0.25 * (look[7] > 0.6)
    line = (side < 0.09) & (x % 6 < 3) if not street.tram else side < 0.06
    line |= (np.abs(side - 3.05) < 0.06) & (x % 1.6 < 1.1)
    line &= away > CROSSING_M / 2 + 4
    zebra = (away > CROSSING_M / 2 + 0.4) & (away < CROSSING_M / 2 + 3.2) & (y % 1.1 < 0.55)
    stop = np.abs(away - CROSSING_M / 2 - 4.1) < 0.22
    marked = (line | zebra | stop) & (side < ROAD_M - 0.3)
    _put(rgb, marked, np.repeat(white[:, None], 3, 1))
    _put(rgb, (np.hypot((x % 17) - 8, y - 1.2) < 0.38), colour((0.16, 0.16, 0.17)))
    if street.tram:
        rail = np.abs(np.abs(side - 1.6) - 0.72)
        _put(rgb, rail < 0.16, colour((0.19, 0.19, 0.19)))
        _put(rgb, rail < 0.06, colour((0.50, 0.50, 0.52)))
    _put(rgb, (side > ROAD_M - 0.35) & (side < ROAD_M), rgb * np.float32(0.78))

    label = np.full(x.shape, TRAIN_ID["road"], np.uint8)
    lateral = g.crossing[half] & (side < 60)
    walk = (side >= ROAD_M) & ~lateral
    pave, _ = _segment(g.sidewalk, x, street)
    grid = ((x * (0.8 + pave[3]) % 1 < 0.07) | (side * (0.8 + pave[3]) % 1 < 0.07)) * fine
    base = colour((0.56, 0.54, 0.51)) * (0.82 + 0.35 * pave[1] + 0.10 * grain * fine + 0.08 * coarse)[:, None]
    base = base * (1 - 0.22 * grid)[:, None] * (1 + np.outer(pave[2] - 0.4, colour((0.14, -0.03, -0.14))[0]))
    _put(base, side < ROAD_M + 0.22, colour((0.66, 0.66, 0.65)))
    _put(base, side < ROAD_M + 0.06, colour((0.30, 0.30, 0.30)))
    _put(rgb, walk, base)
    label[walk] = TRAIN_ID["sidewalk"]

    green = (side >= FRONT_M) & g.green[(y < 0).astype(int), half] & ~lateral
    turf, _ = _segment(g.terrain, x, street)
    lawn = g.grass * (0.75 + 0.4 * turf[1] + 0.5 * grain * fine + 0.25 * coarse)[:, None]
    lawn = lawn * (1 + np.outer(turf[2] - 0.4, colour((0.35, 0.05, -0.2))[0]))
    _put(rgb, green, lawn)
    label[green] = TRAIN_ID["terrain"]
    _cover(rgb, label, g, grain + coarse, side, depth, light)
    return rgb, label


def _cover(
    rgb: Floats, label: NDArray[np.uint8], g: Ground, rough: Floats, side: Floats, depth: Floats, light: Light
) -> None:
    """Rain darkens the ground and makes it mirror the sky; snow lies on it, less where wheels roll."""
    if not (light.wet or light.snow):
        return
    share = np.zeros(label.shape, np.float32)
    for name, cover in zip(("road", "sidewalk", "terrain"), g.covers, strict=True):
        share[label == TRAIN_ID[name]] = cover
    if light.wet:
        mirror = np.clip(depth / 40, 0.05, 0.5) * (rough > -0.25)
        wet = rgb * np.float32(0.62) + light.horizon * (0.45 * mirror)[:, None]
        rgb += (share * light.wet)[:, None] * (wet - rgb)
    if light.snow:
        rolled = (np.abs(side - 0.9) < 0.45) | (np.abs(side - 2.4) < 0.45)
        lies = share * light.snow * np.clip(0.95 + 0.5 * rough - 0.55 * rolled, 0, 1)
        rgb += lies[:, None] * (colour((0.86, 0.88, 0.92)) - rgb)


def sky(light: Light, toward: Floats, look: Floats) -> Floats:
    """Radiance of the sky in unit directions (n, 3): a gradient, clouds on a plane, the glow about the sun."""
    rise = np.clip(toward[:, 2], 0.0, 1)
    part = np.sqrt(rise)[:, None]
    rgb = light.horizon * (1 - part) + light.zenith * part
    flat = 1 / (rise + 0.12)
    turn = float(look[3]) * 6.283
    east = toward[:, 0] * np.cos(turn) - toward[:, 1] * np.sin(turn)
    north = toward[:, 0] * np.sin(turn) + toward[:, 1] * np.cos(turn)
    density = 0.7 * _noise(east * flat * 22 + 255 * look[4], north * flat * 22 + 255 * look[5])
    density += 0.3 * _noise(east * flat * 60 + 99 * look[6], north * flat * 60)
    cover = np.clip(light.cover + 0.5 * (float(look[7]) - 0.5), 0.05, 1)
    cloud = np.clip((density - (1 - cover)) * 3.2, 0, 1)[:, None] * np.float32(0.85)
    rgb = rgb * (1 - cloud) + cloud * light.cloud * (0.86 + 0.22 * density)[:, None]
    near_sun = np.clip(dot(toward, light.sun_to), 0, 1)
    return np.asarray(rgb + light.sun * (0.55 * near_sun**24 + 0.15 * near_sun**4)[:, None], np.float32)
