"""Silhouettes: small part maps (which part of an object a point of its quad belongs to), drawn once.

A map is (64, 64) uint8, row 0 at the top; 0 is air, 1..7 are parts that a quad's palette colours. Parts 6 and 7 are
lamps: they shine by night. Everything here is the same in every world; worlds differ by palettes and places.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Parts = NDArray[np.uint8]

SIZE = 64
NUM_CROWNS, NUM_BARE, NUM_PEOPLE, NUM_SIGNS = 6, 3, 4, 8

_ROW, _COLUMN = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / (SIZE - 1)
_Y = 1 - _ROW
_X = _COLUMN


@functools.lru_cache(maxsize=1)
def noise() -> NDArray[np.float32]:
    """Tileable cloud-like noise, (256, 256) in [0, 1], every value equally common."""
    rng = np.random.default_rng(77)
    total = np.zeros((256, 256), np.float32)
    for level in range(7):
        cells = 2 ** (level + 1)
        grid = rng.random((cells, cells), np.float32)
        at = np.arange(256) * cells / 256
        low, part = at.astype(int), (at % 1).astype(np.float32)
        part = part * part * (3 - 2 * part)
        rows = grid[low] * (1 - part[:, None]) + grid[(low + 1) % cells] * part[:, None]
        total += (rows[:, low] * (1 - part) + rows[:, (low + 1) % cells] * part) / 1.7**level
    order = np.empty(total.size, np.float32)
    order[np.argsort(total, axis=None, kind="stable")] = np.linspace(0, 1, total.size, dtype=np.float32)
    return order.reshape(256, 256)


def _box(part: int, into: Parts, x0: float, x1: float, y0: float, y1: float) -> None:
    into[(x0 <= _X) & (x1 >= _X) & (y0 <= _Y) & (y1 >= _Y)] = part


def _disc(part: int, into: Parts, x: float, y: float, rx: float, ry: float) -> None:
    into[((_X - x) / rx) ** 2 + ((_Y - y) / ry) ** 2 <= 1] = part


def _bar(part: int, into: Parts, start: tuple[float, float], end: tuple[float, float], width: float) -> None:
    """A thick line from start to end."""
    (x0, y0), (x1, y1) = start, end
    length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-6)
    along = np.clip(((_X - x0) * (x1 - x0) + (_Y - y0) * (y1 - y0)) / length, 0, 1)
    into[np.hypot(_X - x0 - along * (x1 - x0), _Y - y0 - along * (y1 - y0)) <= width / 2] = part


def _crown(number: int) -> Parts:
    """A leafy crown: clumps with lit tops and dark hearts, ragged at the edge, some sky shining through."""
    rng = np.random.default_rng(500 + number)
    shift = rng.integers(0, 256, 2)
    texture = np.roll(noise(), tuple(int(s) for s in shift), (0, 1))[::2, ::2][:SIZE, :SIZE]
    fine = np.roll(noise(), int(shift[0]), 1)[:SIZE, :SIZE]
    narrow = (1.0, 0.78, 0.95, 0.6, 1.0, 0.85)[number % NUM_CROWNS]
    body = np.zeros((SIZE, SIZE), np.float32)
    light = np.zeros((SIZE, SIZE), np.float32)
    for _ in range(13):
        angle, radius = rng.random() * 6.283, 0.29 * rng.random() ** 0.5
        x, y = 0.5 + narrow * radius * np.cos(angle), 0.5 + radius * np.sin(angle)
        size = 0.12 + 0.08 * rng.random()
        reach = 1 - np.hypot((_X - x) / narrow, _Y - y) / size
        light = np.where(reach > body, np.clip(0.5 + (_Y - y) / size * 0.45 - (_X - x) / size * 0.25, 0, 1), light)
        body = np.maximum(body, reach)
    part = 1 + (light * 2.2 + (texture - 0.5) * 1.6 + (fine - 0.5) * 1.2 + 0.6).clip(0, 3).astype(np.uint8)
    # No clump may be cut straight by the border of the map.
    border = np.minimum(np.minimum(_X, 1 - _X), np.minimum(_Y, 1 - _Y))
    body = np.minimum(body, 6 * border)
    return np.where(body + 0.55 * (fine - 0.62) > 0.04, part, 0).astype(np.uint8)


def _bare(number: int) -> Parts:
    """A crown without leaves: branches that fork."""
    rng = np.random.default_rng(900 + number)
    out = np.zeros((SIZE, SIZE), np.uint8)

    def grow(x: float, y: float, angle: float, length: float, depth: int) -> None:
        x1, y1 = x + length * np.sin(angle), y + length * np.cos(angle)
        _bar(1 + depth % 2, out, (x, y), (x1, y1), 0.010 + 0.013 * depth)
        if depth:
            for turn in (-0.5, -0.05, 0.45)[: 2 + (rng.random() < 0.6)]:
                grow(x1, y1, angle + turn + 0.3 * (rng.random() - 0.5), length * (0.62 + 0.2 * rng.random()), depth - 1)

    grow(0.5, 0.0, 0.0, 0.27, 4)
    return out


def _person(number: int) -> Parts:
    """Parts: 1 hair, 2 skin, 3 coat, 4 trousers, 5 bag or shoes."""
    out = np.zeros((SIZE, SIZE), np.uint8)
    stride = (0.10, 0.16, 0.05, 0.13)[number]
    for sign in (-1, 1):
        _bar(4, out, (0.5 + sign * 0.05, 0.5), (0.5 + sign * stride, 0.05), 0.13)
        _bar(5, out, (0.5 + sign * stride, 0.02), (0.5 + sign * stride + 0.09, 0.02), 0.05)
        _bar(3, out, (0.5 + sign * 0.16, 0.78), (0.5 + sign * (0.22 + stride / 3), 0.48), 0.10)
    _disc(3, out, 0.5, 0.64, 0.21, 0.22)
    if number in (1, 3):
        _box(3, out, 0.34, 0.66, 0.38, 0.6)
    _disc(2, out, 0.5, 0.91, 0.11, 0.085)
    _box(1, out, 0.39, 0.61, 0.93, 1.0)
    if number == 2:
        _box(5, out, 0.68, 0.84, 0.4, 0.55)
    return out


def _rider() -> Parts:
    out = np.zeros((SIZE, SIZE), np.uint8)
    _bar(4, out, (0.42, 0.55), (0.56, 0.40), 0.10)
    _bar(4, out, (0.56, 0.40), (0.48, 0.18), 0.08)
    _bar(3, out, (0.41, 0.55), (0.52, 0.82), 0.16)
    _bar(3, out, (0.53, 0.78), (0.70, 0.60), 0.07)
    _disc(2, out, 0.56, 0.91, 0.07, 0.07)
    _box(1, out, 0.48, 0.64, 0.93, 1.0)
    return out


def _bicycle() -> Parts:
    """Side view, wheels as rings; parts: 1 tyre, 3 frame."""
    out = np.zeros((SIZE, SIZE), np.uint8)
    for x in (0.2, 0.8):
        ring = np.hypot(_X - x, (_Y - 0.32) * 0.62)
        out[(ring < 0.2) & (ring > 0.135)] = 1
    for start, end in (((0.2, 0.32), (0.38, 0.72)), ((0.38, 0.72), (0.5, 0.32)), ((0.2, 0.32), (0.5, 0.32)),
                       ((0.5, 0.32), (0.72, 0.74)), ((0.38, 0.72), (0.72, 0.74)), ((0.8, 0.32), (0.7, 0.92))):  # fmt: skip  # noqa: E501
        _bar(3, out, start, end, 0.055)
    _box(1, out, 0.30, 0.46, 0.82, 0.92)
    _box(1, out, 0.62, 0.80, 0.88, 0.96)
    return out


def _motorcycle() -> Parts:
    out = np.zeros((SIZE, SIZE), np.uint8)
    _bar(3, out, (0.28, 0.5), (0.7, 0.62), 0.26)
    _bar(2, out, (0.2, 0.72), (0.5, 0.74), 0.1)
    _bar(4, out, (0.84, 0.25), (0.7, 0.92), 0.07)
    _disc(4, out, 0.5, 0.35, 0.18, 0.17)
    for x in (0.18, 0.83):
        _disc(1, out, x, 0.24, 0.17, 0.24)
        _disc(4, out, x, 0.24, 0.07, 0.1)
    _disc(6, out, 0.8, 0.76, 0.05, 0.07)
    _disc(7, out, 0.12, 0.64, 0.04, 0.05)
    return out


def _car_side() -> Parts:
    """The lower body: 1 paint, 2 tyre, 3 shade, 4 hub, 5 trim; air under the sills."""
    out = np.zeros((SIZE, SIZE), np.uint8)
    _box(1, out, 0, 1, 0.25, 1)
    _box(3, out, 0.02, 0.98, 0.2, 0.32)
    _box(5, out, 0.0, 1, 0.6, 0.64)
    _box(3, out, 0.50, 0.51, 0.34, 0.98)
    _box(6, out, 0.97, 1, 0.62, 0.8)
    _box(7, out, 0, 0.03, 0.62, 0.8)
    for x in (0.2, 0.8):
        _disc(3, out, x, 0.33, 0.105, 0.42)
        _disc(2, out, x, 0.31, 0.088, 0.33)
        _disc(4, out, x, 0.31, 0.045, 0.17)
    return out


def _car_end(rear: bool) -> Parts:
    out = np.zeros((SIZE, SIZE), np.uint8)
    _box(1, out, 0, 1, 0.22, 1)
    _box(3, out, 0, 1, 0.22, 0.4)
    for x0 in (0.05, 0.79):
        _box(2, out, x0 - 0.02, x0 + 0.18, 0, 0.26)
        _box(7 if rear else 6, out, x0 - 0.03, x0 + 0.19, 0.66, 0.86)
    _box(5, out, 0.36, 0.64, 0.44, 0.56)
    if not rear:
        _box(3, out, 0.28, 0.72, 0.62, 0.84)
    return out


def _cabin() -> Parts:
    """The glass house from the side, a trapezium: 1 paint, 2 glass."""
    out = np.where((_X > 0.03 + 0.15 * _Y) & (_X < 0.97 - 0.24 * _Y), 1, 0).astype(np.uint8)
    inner = (_X > 0.10 + 0.15 * _Y) & (_X < 0.90 - 0.24 * _Y) & (_Y < 0.84) & (_Y > 0.04) & (np.abs(_X - 0.47) > 0.03)
    out[inner] = 2
    return out


def _window_end() -> Parts:
    """Windscreen or rear window: 2 glass in a 1 paint frame, 3 a dark lower edge."""
    out = np.full((SIZE, SIZE), 1, np.uint8)
    _box(2, out, 0.07, 0.93, 0.06, 0.9)
    _box(3, out, 0.0, 1, 0, 0.06)
    return out


def _long_side(windows: int, doors: int, load: bool) -> Parts:
    """A bus, tram or truck from the side: 1 paint, 2 glass, 3 tyre, 4 second paint, 5 roof edge."""
    out = np.zeros((SIZE, SIZE), np.uint8)
    _box(1, out, 0, 1, 0.11, 1)
    if load:
        _box(0, out, 0.0, 1, 0.0, 0.24)
        _box(4, out, 0, 0.76, 0.24, 1.0)
        _box(5, out, 0, 0.76, 0.24, 0.28)
        _box(0, out, 0.765, 0.79, 0.3, 1.0)
        _box(0, out, 0.79, 1, 0.82, 1.0)
        _box(1, out, 0.79, 1, 0.14, 0.82)
        _box(2, out, 0.85, 0.96, 0.52, 0.76)
    else:
        _box(4, out, 0, 1, 0.2, 0.36)
        _box(5, out, 0, 1, 0.94, 1)
        for i in range(windows):
            _box(2, out, (i + 0.12) / windows, (i + 0.88) / windows, 0.5, 0.86)
        for i in range(doors):
            middle = (i + 0.5) / doors
            _box(5, out, middle - 0.05, middle + 0.05, 0.12, 0.88)
            _box(2, out, middle - 0.04, middle + 0.04, 0.18, 0.86)
    for x in (0.15, 0.3, 0.84) if load else (0.17, 0.8):
        _disc(3, out, x, 0.12, 0.055 if load else 0.045, 0.125)
    return out


def _long_end(rear: bool) -> Parts:
    out = np.zeros((SIZE, SIZE), np.uint8)
    _box(1, out, 0, 1, 0.1, 1)
    _box(4, out, 0, 1, 0.1, 0.3)
    _box(2, out, 0.08, 0.92, 0.5 if rear else 0.42, 0.82)
    _box(5, out, 0.2, 0.8, 0.86, 0.96)
    for x0 in (0.06, 0.80):
        _box(3, out, x0, x0 + 0.14, 0, 0.11)
        _box(7 if rear else 6, out, x0 - 0.02, x0 + 0.16, 0.2, 0.3)
    return out


def _truck_rear() -> Parts:
    out = np.zeros((SIZE, SIZE), np.uint8)
    _box(4, out, 0, 1, 0.24, 1)
    _box(5, out, 0.49, 0.51, 0.28, 0.97)
    _box(5, out, 0, 1, 0.24, 0.29)
    _box(3, out, 0.05, 0.24, 0, 0.2)
    _box(3, out, 0.76, 0.95, 0, 0.2)
    _box(7, out, 0.02, 0.14, 0.2, 0.25)
    _box(7, out, 0.86, 0.98, 0.2, 0.25)
    return out


def _sign(number: int) -> Parts:
    """Traffic signs: 1 face, 2 border, 3 symbol."""
    out = np.zeros((SIZE, SIZE), np.uint8)
    if number in (0, 1):
        _disc(2, out, 0.5, 0.5, 0.5, 0.5)
        _disc(1, out, 0.5, 0.5, 0.36, 0.36)
    elif number in (2, 3):
        flip = _Y if number == 2 else 1 - _Y
        out[np.abs(_X - 0.5) < 0.5 * (1 - flip)] = 2
        out[(np.abs(_X - 0.5) < 0.5 * (1 - flip) - 0.16) & (flip > 0.1)] = 1
    elif number == 4:
        out[np.abs(_X - 0.5) + np.abs(_Y - 0.5) < 0.5] = 2
        out[np.abs(_X - 0.5) + np.abs(_Y - 0.5) < 0.36] = 1
    else:
        _box(2, out, 0, 1, 0, 1)
        _box(1, out, 0.08, 0.92, 0.08, 0.92)
    if number in (0, 5):
        _box(3, out, 0.3, 0.7, 0.42, 0.58)
    elif number in (1, 6):
        _bar(3, out, (0.35, 0.3), (0.62, 0.68), 0.12)
        _bar(3, out, (0.4, 0.7), (0.66, 0.7), 0.12)
    elif number == 7:
        for y in (0.72, 0.5, 0.28):
            _box(3, out, 0.18, 0.5 + 0.3 * y, y - 0.06, y + 0.06)
    else:
        _box(3, out, 0.45, 0.55, 0.3, 0.55)
    return out


def _light(state: int) -> Parts:
    """A traffic light box: 1 case, 6 the lamp that shines, 3 the others."""
    out = np.full((SIZE, SIZE), 1, np.uint8)
    for number, y in enumerate((0.82, 0.5, 0.18)):
        _disc(6 if number == state else 3, out, 0.5, y, 0.3, 0.12)
    return out


def _fence(mesh: bool) -> Parts:
    out = np.zeros((SIZE, SIZE), np.uint8)
    if mesh:
        out[((_X * 8 + _Y * 6) % 1 < 0.22) | ((_X * 8 - _Y * 6) % 1 < 0.22)] = 1
        _box(2, out, 0, 0.06, 0, 1)
    else:
        out[(_X * 6 % 1 < 0.55) & (np.abs(_X * 6 % 1 - 0.275) * 0.4 < 1.02 - _Y)] = 1
        out[(_X * 6 % 1 < 0.08)] *= 2
        _box(2, out, 0, 1, 0.7, 0.78)
    _box(2, out, 0, 1, 0.22, 0.3)
    _box(2, out, 0, 1, 0.92, 0.98) if mesh else None
    return out


def _bricks() -> Parts:
    """Stones of a wall: 1 and 2 stones, 3 joints, 4 coping."""
    row = np.floor(_Y * 7)
    along = _X * 5 + 0.5 * (row % 2)
    out = np.where((row * 7 + np.floor(along) * 3) % 5 < 2, 2, 1).astype(np.uint8)
    out[(_Y * 7 % 1 < 0.16) | (along % 1 < 0.08)] = 3
    out[_Y > 0.92] = 4
    return out


def _leaves(ragged: bool) -> Parts:
    """A hedge, or with a ragged upper edge a distant line of trees."""
    fine, coarse = noise()[::2, ::2][:SIZE, :SIZE], noise()[100 : 100 + SIZE, :SIZE]
    part = 1 + (3.2 * (0.45 * fine + 0.25 * coarse + 0.35 * _Y) - 0.3).clip(0, 3).astype(np.uint8)
    edge = 0.5 + 0.25 * np.sin(_X * 12.566) + 0.14 * np.sin(_X * 31.4159 + 1) if ragged else 0.92 + 0.12 * (fine - 0.5)
    return np.where(edge + 0.2 * (fine - 0.5) > _Y, part, 0).astype(np.uint8)


def _trunk() -> Parts:
    out = np.where(np.abs(_X - 0.5) < 0.5 - 0.12 * _Y, 1, 0).astype(np.uint8)
    out[(_X > 0.55) & (out > 0)] = 2
    return out


def _gable() -> Parts:
    return np.where(np.abs(_X - 0.5) < 0.5 * (1 - _Y), 1, 0).astype(np.uint8)


def _tiles() -> Parts:
    out = np.where((np.floor(_Y * 10) + np.floor(_X * 16 + 0.5 * np.floor(_Y * 10))) % 3 < 1, 2, 1).astype(np.uint8)
    out[_Y * 10 % 1 < 0.2] = 3
    return out


@functools.lru_cache(maxsize=1)
def _all() -> tuple[dict[str, int], Parts]:
    maps: dict[str, Parts] = {"full": np.full((SIZE, SIZE), 1, np.uint8)}
    maps |= {f"crown{i}": _crown(i) for i in range(NUM_CROWNS)} | {f"bare{i}": _bare(i) for i in range(NUM_BARE)}
    maps |= {f"person{i}": _person(i) for i in range(NUM_PEOPLE)} | {f"sign{i}": _sign(i) for i in range(NUM_SIGNS)}
    maps |= {"rider": _rider(), "bicycle": _bicycle(), "motorcycle": _motorcycle(), "car_side": _car_side()}
    maps |= {"car_front": _car_end(False), "car_rear": _car_end(True), "cabin": _cabin(), "window": _window_end()}
    maps |= {"truck_side": _long_side(0, 0, True), "truck_rear": _truck_rear(), "bus_side": _long_side(7, 2, False)}
    maps |= {"bus_front": _long_end(False), "bus_rear": _long_end(True), "train_side": _long_side(6, 3, False)}
    maps |= {f"light{i}": _light(i) for i in range(3)} | {"pickets": _fence(False), "mesh": _fence(True)}
    maps |= {"bricks": _bricks(), "hedge": _leaves(False), "treeline": _leaves(True), "trunk": _trunk()}
    maps |= {"gable": _gable(), "tiles": _tiles()}
    for flipped in ("car_side", "cabin", "truck_side", "rider", "bicycle", "motorcycle"):
        maps[flipped + "-"] = maps[flipped][:, ::-1]
    return {name: number for number, name in enumerate(maps)}, np.ascontiguousarray(np.stack(list(maps.values())))


def stack() -> Parts:
    """All maps, (number, 64, 64)."""
    return _all()[1]


def index(name: str) -> int:
    """The place of a map in the stack."""
    return _all()[0][name]
