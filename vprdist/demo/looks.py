"""Looks: the numbers that an object's appearance is made of, and the recipe that acts on them.

Every object of the demo city (a facade, a tree, a parked car, twelve metres of road) owns one row of numbers in
[0, 1]. Identity, churn and repeat act on these rows alone, so that they mean the same for every class.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from vprdist.spec.demo import DemoSpec
from vprdist.spec.vocabulary import CLASSES

Floats = NDArray[np.float32]

NUM_NUMBERS = 16
PRESENCE = 0
"""The column that decides whether a slot is filled."""
COMMON = 0.4
"""What every number is where identity is 0."""
MOST_STREETS = 1000
"""Numbers of streets lie below; callers add multiples of it, for tables of their own."""
NUM_STOCK = 4
"""Looks in the common stock of a class."""

TRAIN_ID = {name: index for index, name in enumerate(CLASSES)}


def generator(seed: int, *words: str | int) -> np.random.Generator:
    """A random generator of its own for every sequence of words: no draw depends on the order of work."""
    numbers = [word if isinstance(word, int) else zlib.crc32(word.encode()) for word in words]
    return np.random.default_rng([seed, *numbers])


def looks(spec: DemoSpec, name: str, city: str, street: int, count: int, visit: int | None) -> Floats:
    """The looks of `count` objects of class `name` along a street: (count, 16) in [0, 1].

    With `visit` None churn is left out: the look that stays. Identity pulls numbers towards the common value;
    presence cannot be pulled (a rare class would die out), there identity mixes an own draw with a regular
    pattern that is the same in every street. Repeat and churn replace whole rows.
    """
    identity, churn, repeat = spec.knobs(name)
    if spec.misleads(name, visit):
        street += (street % MOST_STREETS + 1) % spec.streets - street % MOST_STREETS
    own = generator(spec.seed, "own", name, city, street).random((count, NUM_NUMBERS), np.float32)
    dice = generator(spec.seed, "dice", name, city, street).random((count, 3), np.float32)
    stock = generator(spec.seed, "stock", name).random((NUM_STOCK, NUM_NUMBERS), np.float32)
    from_stock = dice[:, 0] < repeat
    own[from_stock] = stock[(dice[from_stock, 1] * NUM_STOCK).astype(int)]
    look = COMMON + np.float32(identity) * (own - np.float32(COMMON))
    pattern = (np.arange(count) * 0.618034 + 0.1) % 1.0
    look[:, PRESENCE] = np.where(dice[:, 2] < identity, own[:, PRESENCE], pattern)
    if visit is not None:
        fresh = generator(spec.seed, "fresh", name, city, street, visit)
        changed = fresh.random(count) < churn
        look[changed] = fresh.random((count, NUM_NUMBERS), np.float32)[changed]
    return look.astype(np.float32)


def weathering(spec: DemoSpec, name: str) -> float:
    """How far season and weather may change a class, in [0, 1]: all the way from the natural churn on."""
    natural = DemoSpec().knobs(name)[1]
    return min(1.0, spec.knobs(name)[1] / natural) if natural else 0.0


def dot(a: Floats, b: Floats) -> Floats:
    """Products of rows (n, 3) with (3,) or (n, 3), summed in one order: BLAS may sum in another on other cores."""
    return np.asarray(a[:, 0] * b[..., 0] + a[:, 1] * b[..., 1] + a[:, 2] * b[..., 2], np.float32)


def ramp(colours: Floats, number: Floats | float) -> Floats:
    """Colours along a ramp: (K, 3) stops and numbers (...) in [0, 1] give (..., 3)."""
    place = np.clip(np.asarray(number, np.float32), 0, 1) * (len(colours) - 1)
    low = np.minimum(place.astype(int), len(colours) - 2)
    part = (place - low)[..., None]
    return np.asarray(colours[low] * (1 - part) + colours[low + 1] * part, np.float32)


def colour(*stops: tuple[float, float, float]) -> Floats:
    """A ramp of colours from literals, each 0..1."""
    return np.array(stops, np.float32)
