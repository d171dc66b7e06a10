"""One picture: cast rays, shade what they meet, light it, expose it."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vprdist.demo import furniture, houses, raster, shade, traffic
from vprdist.demo.expose import expose
from vprdist.demo.light import Light, light
from vprdist.demo.looks import TRAIN_ID, Floats, colour, dot, looks, weathering
from vprdist.demo.quads import NUM_PARTS, Builder, Quads
from vprdist.demo.visits import Pose, Visit, visit
from vprdist.demo.world import CROSSING_M, SEGMENT_M, Street, street
from vprdist.spec.demo import DemoSpec

NUM_CLASSES = 19
SHADOWS_M = 45.0
"""How far shadows of small things are seen."""
GRASS = {"spring": (0.34, 0.48, 0.18), "summer": (0.32, 0.42, 0.16), "autumn": (0.40, 0.36, 0.17),
         "winter": (0.38, 0.36, 0.24)}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A street during a visit, ready to be rendered."""

    street: Street
    drive: Visit
    quads: Quads
    still: Quads
    """Those of them that are no traffic."""
    ground: shade.Ground
    light: Light


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A rendered picture.

    Attributes:
        rgb: (height, width, 3) uint8.
        labels: (height, width) uint8 trainIds, the class that covers most of the pixel (near before far).
        cover: (19, height, width) float32, share of the pixel that each class covers; sums to 1.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    cover: Floats


def _ground(spec: DemoSpec, place: Street, drive: Visit) -> shade.Ground:
    count = int((place.x1 - place.x0) / SEGMENT_M) + 2
    tables = {
        name: looks(spec, name, place.city, place.number, count, drive.drawn_as)
        for name in ("road", "sidewalk", "terrain")
    }
    along = np.arange(place.x0, place.x1, 0.5)
    green = np.zeros((2, len(along)), bool)
    for lot in place.lots:
        if lot.kind != "flush":
            green[0 if lot.side > 0 else 1] |= (along >= lot.x0) & (along < lot.x1)
    crossing = np.zeros(len(along), bool)
    for x in place.crossings:
        crossing |= np.abs(along - x) < CROSSING_M / 2 - 1
    part = np.float32(weathering(spec, "terrain"))
    grass = colour(GRASS["summer"])[0] * (1 - part) + colour(GRASS[drive.season])[0] * part
    covers = (weathering(spec, "road"), weathering(spec, "sidewalk"), weathering(spec, "terrain"))
    return shade.Ground(street=place, **tables, green=green, crossing=crossing, covers=covers, grass=grass)


@functools.lru_cache(maxsize=4)
def _scene(text: str, city: str, number: int, visit_number: int) -> Scene:
    spec = DemoSpec.model_validate_json(text)
    place, drive = street(spec, city, number), visit(spec, city, number, visit_number)
    leaf = furniture.leaves(spec, drive)
    build = Builder()
    houses.place(build, spec, place, drive, leaf)
    furniture.place(build, spec, place, drive, leaf)
    still = build.build()
    traffic.place(build, spec, place, drive)
    return Scene(
        street=place, drive=drive, quads=build.build(), still=still, ground=_ground(spec, place, drive),
        light=light(spec, place, drive),
    )  # fmt: skip


def scene(spec: DemoSpec, drive: Visit) -> Scene:
    """The street of a visit; the last few are kept."""
    return _scene(spec.model_dump_json(by_alias=True), drive.city, drive.street, drive.number)


def _joined(first: Quads, second: Quads) -> Quads:
    if not len(second.label):
        return first
    return Quads(**{f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(Quads)})


def _shadows(quads: Quads, x: Floats, y: Floats, eye: float) -> Floats:
    """How dark the ground is under vehicles and trees, (n,) factors."""
    factor = np.ones(x.shape, np.float32)
    if not len(x):
        return factor
    low, high = max(x.min() - 3, eye - SHADOWS_M), min(x.max() + 3, eye + SHADOWS_M)
    for cx, cy, half_x, half_y in quads.shadows:
        if low < cx < high:
            inside = np.maximum(np.abs(x - cx) / half_x, np.abs(y - cy) / half_y)
            near = np.flatnonzero(inside < 1.15)
            factor[near] = np.minimum(factor[near], 0.42 + 0.58 * np.clip((inside[near] - 0.8) / 0.35, 0, 1))
    return factor


def _sun_shadow(scene: Scene, x: Floats, y: Floats) -> Floats:
    """1 where the sun reaches the ground: rows of houses throw shadows across the street."""
    sun = scene.light.sun_to
    if abs(sun[1]) < 1e-3:
        return np.ones(x.shape, np.float32)
    side = 1.0 if sun[1] > 0 else -1.0
    heights = np.zeros(len(scene.ground.crossing), np.float32)
    for lot, top in _heights(scene):
        if lot.side == side:
            at = slice(int(2 * (lot.x0 - scene.street.x0)), int(2 * (lot.x1 - scene.street.x0)))
            heights[at] = top
    reach = (8.2 - side * y) / abs(float(sun[1]))
    along = np.clip((x + reach * sun[0] - scene.street.x0) * 2, 0, len(heights) - 1).astype(np.int32)
    return np.asarray(heights[along] < reach * sun[2], np.float32)


def _heights(scene: Scene) -> list[tuple[Any, float]]:
    tops = {}
    quads = scene.quads
    front = (quads.facade >= 0) & (np.abs(np.abs(quads.origin[:, 1]) - 8.2) < 0.01) & (quads.along[:, 0] > 0)
    for x, y, height in zip(quads.origin[front, 0], quads.origin[front, 1], quads.up[front, 2], strict=True):
        tops[(round(float(x), 2), 1 if y > 0 else -1)] = float(height)
    return [(lot, tops.get((round(lot.x0, 2), lot.side), 0.0)) for lot in scene.street.lots]


def _quad_light(quads: Quads, now: Light) -> Floats:
    """Light that falls on each quad, (N, 3): walls by their angle to the sun, billboards half."""
    normal = np.cross(quads.along, quads.up)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    facing = np.abs(dot(normal / np.maximum(length, 1e-6), now.sun_to))
    # A wall is lit from the street or not at all: its outside looks to the middle of the street.
    wall = (quads.facade >= 0) & (np.abs(quads.along[:, 0]) > np.abs(quads.along[:, 1]))
    outside = -np.sign(quads.origin[:, 1]) * now.sun_to[1]
    facing = np.where(wall & (outside < 0), 0, facing)
    facing = np.where(quads.turns, 0.55, facing)
    return (now.ambient + facing[:, None] * now.sun).astype(np.float32)


def _shade(scene: Scene, quads: Quads, camera: raster.Camera) -> tuple[Floats, NDArray[np.uint8], Floats]:
    """Radiance (rays, 3), label (rays,) and depth (rays,) of every ray of a camera."""
    now = scene.light
    hits, chosen = raster.cast(quads, camera)
    nearness, quad, part = hits.nearness.ravel(), hits.quad.ravel(), hits.part.ravel()
    x, y = camera.grid()
    axes = camera.axes()
    toward = (x[None, :, None] * axes[0] + y[:, None, None] * axes[1] + axes[2]).reshape(-1, 3)
    depth: Floats = np.asarray(1 / np.maximum(nearness, np.float32(1e-4)), np.float32)
    rgb = np.empty((len(quad), 3), np.float32)
    label = np.full(len(quad), TRAIN_ID["sky"], np.uint8)

    above = np.flatnonzero(quad == raster.SKY)
    unit = toward[above] / np.sqrt(dot(toward[above], toward[above]))[:, None]
    segment = int(np.clip((camera.x - scene.street.x0) / SEGMENT_M, 0, len(now.skies) - 1))
    rgb[above] = shade.sky(now, unit, now.skies[segment])

    below = np.flatnonzero(quad == raster.GROUND)
    gx, gy = camera.x + depth[below] * toward[below, 0], camera.y + depth[below] * toward[below, 1]
    albedo, label[below] = shade.ground(scene.ground, gx, gy, depth[below], now)
    sun = now.sun * (now.sun_to[2] * _sun_shadow(scene, gx, gy))[:, None] if now.sun.max() > 0.2 else now.sun
    rgb[below] = albedo * (now.ambient + sun) * _shadows(quads, gx, gy, camera.x)[:, None]

    solid = np.flatnonzero(quad >= 0)
    row = chosen[quad[solid]]
    label[solid] = quads.label[row]
    paint = np.take(quads.palette.reshape(-1, 3), row * NUM_PARTS + part[solid], axis=0)
    glow = np.zeros_like(paint)
    lamp = part[solid] >= 6
    strength = quads.glow[row[lamp], part[solid][lamp] - 6] * (0.25 + 0.75 * min(1.0, 2 * now.lamps))
    glow[lamp] = paint[lamp] * strength[:, None]
    wall = np.flatnonzero(quads.facade[row] >= 0)
    numbers = np.take(quads.facades.T, quads.facade[row[wall]], axis=1)
    planes = np.take(hits.planes.T, quad[solid[wall]], axis=1)
    px, py = np.tile(x, camera.rows)[solid[wall]], np.repeat(y, camera.columns)[solid[wall]]
    deep = depth[solid[wall]]
    u = (planes[3] * px + planes[4] * py + planes[5]) * deep * numbers[25]
    z = (planes[6] * px + planes[7] * py + planes[8]) * deep * numbers[26]
    paint[wall], glow[wall] = shade.facade(numbers, u, z, deep, now.lamps)
    rgb[solid] = paint * np.take(_quad_light(quads, now), row, axis=0) + glow
    if now.lamps:
        _night(rgb, paint, albedo, solid, below, toward, depth, camera, scene)
    # The air: what is far takes the colour of the fog, the sky near the horizon too.
    hit = nearness > 0
    clear = np.exp(-depth[hit] / now.fog_m)[:, None]
    rgb[hit] = rgb[hit] * clear + now.fog * (1 - clear)
    return rgb, label, depth


def _night(rgb: Floats, paint: Floats, albedo: Floats, solid: NDArray[np.intp], below: NDArray[np.intp], toward: Floats,
           depth: Floats, camera: raster.Camera, scene: Scene) -> None:  # fmt: skip
    """Add street lamps' pools of light and the camera car's headlights."""
    now = scene.light
    warm, white = colour((1.0, 0.80, 0.52))[0], colour((1.0, 0.97, 0.9))[0]
    ahead = camera.axes()[2]
    for rays, matte in ((solid, paint), (below, albedo)):
        x = camera.x + depth[rays] * toward[rays, 0]
        z = camera.z + depth[rays] * toward[rays, 2]
        half = np.clip((x - scene.street.x0) * 2, 0, len(now.profile) - 1).astype(np.int32)
        lamp = now.lamps * (0.10 + 0.55 * now.profile[half]) * np.clip(1.25 - z / 9, 0.12, 1)
        d = toward[rays]
        straight = dot(d, ahead) / np.sqrt(dot(d, d))
        cone = np.clip((straight - 0.80) / 0.17, 0, 1) * np.clip(1.2 - z / 1.6, 0.05, 1)
        head = now.lamps * 0.75 * cone / (1 + (depth[rays] / 14) ** 2)
        rgb[rays] += matte * (lamp[:, None] * warm + head[:, None] * white)


def _view(
    scene: Scene, spec: DemoSpec, pose: Pose, width: int, degrees: float, turn: float
) -> tuple[Floats, NDArray[np.uint8], Floats]:
    """Rays of one pinhole view: rgb (H s, W s, 3), label and depth (H s, W s) at `supersample` s."""
    s = spec.supersample
    focal = width * s / 2 / math.tan(math.radians(degrees) / 2)
    camera = raster.Camera(
        x=pose.x, y=pose.y, z=scene.drive.camera_height_m, yaw=pose.yaw + turn, pitch=pose.pitch, roll=pose.roll,
        focal=focal, rows=spec.height * s, columns=width * s,
    )  # fmt: skip
    quads = _joined(scene.quads, traffic.leader(spec, scene.street, scene.drive, pose.x).build())
    rgb, label, depth = _shade(scene, quads, camera)
    size = (camera.rows, camera.columns)
    return rgb.reshape(*size, 3), label.reshape(size), depth.reshape(size)


def _average(rays: Floats, s: int) -> Floats:
    """Mean of each s x s block of rays, (H s, W s, ...) to (H, W, ...); slices add faster than `mean` does."""
    total: Floats = rays[::s, ::s].copy()
    for k in range(1, s * s):
        total += rays[k // s :: s, k % s :: s]
    return total / np.float32(s * s)


def _resolve(label: NDArray[np.uint8], depth: Floats, s: int) -> tuple[NDArray[np.uint8], Floats]:
    """Labels and cover of pixels from those of s x s rays."""
    height, width = label.shape[0] // s, label.shape[1] // s
    rays = label.reshape(height, s, width, s).transpose(0, 2, 1, 3).reshape(height, width, s * s)
    near = (1 / depth).reshape(height, s, width, s).transpose(0, 2, 1, 3).reshape(height, width, s * s)
    votes = np.zeros(rays.shape, np.float32)
    for k in range(s * s):
        votes += rays == rays[..., k : k + 1]
    best = (votes + near / (near.max() + np.float32(1e-9))).argmax(-1)
    labels = np.take_along_axis(rays, best[..., None], -1)[..., 0].astype(np.uint8)
    cover = np.zeros((NUM_CLASSES, height, width), np.float32)
    for c in np.flatnonzero(np.bincount(label.ravel(), minlength=NUM_CLASSES)):
        cover[c] = _average((label == c).astype(np.float32), s)
    return labels, cover


def _rays(scene: Scene, spec: DemoSpec, pose: Pose) -> tuple[Floats, NDArray[np.uint8], Floats]:
    """As `_view`, of a picture. A panorama is four views of 90 degrees side by side, its middle ahead."""
    if not pose.pano:
        return _view(scene, spec, pose, spec.width, scene.drive.view_degrees, 0.0)
    turns = [math.radians(turn) for turn in (135, 45, -45, -135)]
    views = [_view(scene, spec, pose, spec.width // 4, 90.0, turn) for turn in turns]
    rgb, label, depth = zip(*views, strict=True)
    return np.concatenate(rgb, 1), np.concatenate(label, 1), np.concatenate(depth, 1)


def _measured(scene: Scene, spec: DemoSpec, pose: Pose) -> float | None:
    """The light that the exposure follows where conditions are chosen; None: the picture's own.

    It is that of the street without traffic: a car more makes nothing brighter or darker that it does not hide.
    """
    if spec.conditions is None:
        return None
    empty = replace(scene, quads=scene.still, drive=replace(scene.drive, leader_m=0.0))
    rgb, _, _ = _rays(empty, spec.model_copy(update={"supersample": 1}), pose)
    return float(rgb.clip(0, 1).mean())


def render(spec: DemoSpec, drive: Visit, pose: Pose) -> Picture:
    """Render one picture."""
    here, s = scene(spec, drive), spec.supersample
    rgb, label, depth = _rays(here, spec, pose)
    labels, cover = _resolve(label, depth, s)
    # Lamps are cut before averaging, or one bright ray would outshine its pixel.
    fine = _average(rgb.clip(0, 1.6), s)
    return Picture(rgb=expose(fine, drive, here.light, pose, _measured(here, spec, pose)), labels=labels, cover=cover)
