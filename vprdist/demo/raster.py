"""The rasteriser: which quad each ray of a pinhole camera meets first. Vectorised, with a depth buffer.

A ray is d = (X, Y, 1) in the camera's frame (right, down, ahead). It meets the plane of the quad o + u a + v b at
depth t, and 1/t, u/t and v/t are linear in X and Y. So a quad costs three planes over its bounding box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vprdist.demo import atlas
from vprdist.demo.looks import Floats
from vprdist.demo.quads import Quads

SKY, GROUND = -2, -1
NEAR_M = 0.15


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera in the street's frame; angles in radians, yaw anticlockwise from +x, `rays` per line."""

    x: float
    y: float
    z: float
    yaw: float
    pitch: float
    roll: float
    focal: float
    """In rays."""
    rows: int
    columns: int

    def axes(self) -> Floats:
        """(3, 3): right, down and ahead as rows."""
        cp, sp, cy, sy = math.cos(self.pitch), math.sin(self.pitch), math.cos(self.yaw), math.sin(self.yaw)
        ahead = np.array([cy * cp, sy * cp, sp])
        right = np.array([sy, -cy, 0.0])
        down = np.cross(ahead, right)
        cr, sr = math.cos(self.roll), math.sin(self.roll)
        return np.array([cr * right + sr * down, cr * down - sr * right, ahead], np.float32)

    def grid(self) -> tuple[Floats, Floats]:
        """X of each column and Y of each row."""
        x = (np.arange(self.columns) + 0.5 - self.columns / 2) / self.focal
        y = (np.arange(self.rows) + 0.5 - self.rows / 2) / self.focal
        return x.astype(np.float32), y.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Hits:
    """What each ray meets, (rows, columns).

    Attributes:
        nearness: 1 / depth in 1/m, 0 for the sky; quad: row of `quads`, or GROUND or SKY; part: of the atlas.
        planes: (N, 9) the linear forms of 1/t, u/t and v/t of the quads met.
    """

    nearness: Floats
    quad: NDArray[np.int32]
    part: NDArray[np.uint8]
    planes: Floats


def visible(quads: Quads, camera: Camera) -> tuple[NDArray[np.intp], Floats, Floats, Floats]:
    """Rows of the quads that may be seen, with origin and edges in the camera's frame, (N, 3) each."""
    eye = np.array([camera.x, camera.y, camera.z], np.float32)
    origin, along, up = quads.origin, quads.along, quads.up
    # The nearest a long quad comes is judged by its middle and half its length.
    middle = origin + 0.5 * along * ~quads.turns[:, None] + 0.5 * up - eye
    size = 0.5 * (np.abs(along).sum(1) + np.abs(up).sum(1))
    ahead = middle[:, 0] * math.cos(camera.yaw) + middle[:, 1] * math.sin(camera.yaw)
    distance = np.hypot(middle[:, 0], middle[:, 1])
    chosen = np.flatnonzero((ahead > -size) & (distance - size < quads.reach))
    origin, along, up = origin[chosen] - eye, along[chosen], up[chosen]
    turns = quads.turns[chosen]
    across = np.stack([origin[:, 1], -origin[:, 0], np.zeros(len(chosen), np.float32)], 1)
    across *= along[:, :1] / np.maximum(np.hypot(across[:, 0], across[:, 1]), 1e-3)[:, None]
    along = np.where(turns[:, None], across, along)
    origin = np.where(turns[:, None], origin - 0.5 * across, origin)
    axes = camera.axes().T
    turned = [np.einsum("ij,jk->ik", part, axes) for part in (origin, along, up)]
    return chosen, turned[0], turned[1], turned[2]


def _boxes(camera: Camera, o: Floats, a: Floats, b: Floats) -> NDArray[np.int32]:
    """Bounding boxes in rays, (N, 4): first and last row, first and last column; cut at the near plane."""
    corner = np.stack([o, o + a, o + a + b, o + b], 1)
    after = np.roll(corner, -1, 1)
    z0, z1 = corner[..., 2], after[..., 2]
    crosses = (z0 > NEAR_M) != (z1 > NEAR_M)
    part = (NEAR_M - z0) / np.where(crosses, z1 - z0, 1)
    points = np.concatenate([corner, corner + part[..., None] * (after - corner)], 1)
    valid = np.concatenate([z0 > NEAR_M, crosses], 1)
    z = np.where(valid, np.maximum(points[..., 2], NEAR_M), 1)
    out = np.empty((len(o), 4), np.int32)
    for n, (axis, size) in enumerate(((1, camera.rows), (0, camera.columns))):
        place = points[..., axis] / z * camera.focal + size / 2
        low = np.where(valid, place, np.inf).min(1).clip(0, size)
        high = np.where(valid, place, -np.inf).max(1).clip(0, size)
        out[:, 2 * n], out[:, 2 * n + 1] = np.floor(low), np.ceil(high)
    return out


def _draw(hits: Hits, number: int, plane: Floats, box: NDArray[np.int32], x: Floats, y: Floats, shape: int,
          repeat: Floats) -> None:  # fmt: skip
    """Draw one quad over what is farther."""
    rows, columns = slice(box[0], box[1]), slice(box[2], box[3])
    xs, ys = x[columns], y[rows, None]
    w = plane[0] * xs + (plane[1] * ys + plane[2])
    nearness = hits.nearness[rows, columns]
    inside = w > nearness
    if not inside.any():
        return
    u = plane[3] * xs + (plane[4] * ys + plane[5])
    v = plane[6] * xs + (plane[7] * ys + plane[8])
    inside &= (u >= 0) & (u <= w) & (v >= 0) & (v <= w)
    if shape == 0:
        np.copyto(nearness, w, where=inside)
        np.copyto(hits.quad[rows, columns], number, where=inside)
        np.copyto(hits.part[rows, columns], 1, where=inside)
        return
    at = np.nonzero(inside)
    if not len(at[0]):
        return
    depth = w[at]
    column = (u[at] / depth * (repeat[0] * atlas.SIZE)).astype(np.int32) & (atlas.SIZE - 1)
    row = atlas.SIZE - 1 - ((v[at] / depth * (repeat[1] * (atlas.SIZE - 0.01))).astype(np.int32) & (atlas.SIZE - 1))
    part = atlas.stack()[shape][row, column]
    solid = part > 0
    at = (at[0][solid], at[1][solid])
    nearness[at] = depth[solid]
    hits.quad[rows, columns][at] = number
    hits.part[rows, columns][at] = part[solid]


def cast(quads: Quads, camera: Camera) -> tuple[Hits, NDArray[np.intp]]:
    """What every ray meets; Hits.quad counts in the second result, which gives rows of `quads`."""
    chosen, o, a, b = visible(quads, camera)
    determinant = np.einsum("ij,ij->i", o, np.cross(a, b))
    seen = np.abs(determinant) > 1e-6
    chosen, o, a, b, determinant = chosen[seen], o[seen], a[seen], b[seen], determinant[seen]
    planes = np.concatenate([np.cross(a, b), np.cross(b, o), np.cross(o, a)], 1) / determinant[:, None]
    boxes = _boxes(camera, o, a, b)
    x, y = camera.grid()
    down = camera.axes()[:, 2]
    # 1 / depth of the ground plane, z = 0, is linear too.
    ground = -(down[0] * x + (down[1] * y[:, None] + down[2])) / np.float32(camera.z)
    hits = Hits(
        nearness=np.maximum(ground, 0).astype(np.float32), quad=np.where(ground > 0, GROUND, SKY).astype(np.int32),
        part=np.zeros(ground.shape, np.uint8), planes=planes.astype(np.float32),
    )  # fmt: skip
    shapes, repeats = quads.shape[chosen], quads.repeat[chosen]
    wanted = np.flatnonzero((boxes[:, 1] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 2]))
    # Near quads first: what they hide is dropped before its silhouette is looked up.
    order = wanted[np.argsort(np.einsum("ij,ij->i", o + 0.5 * (a + b), o + 0.5 * (a + b))[wanted], kind="stable")]
    for n in order.tolist():
        _draw(hits, n, hits.planes[n], boxes[n], x, y, int(shapes[n]), repeats[n])
    return hits, chosen
