"""Small pictures of a sweep's places for its page, read from the data and the cache only when the page asks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from vprdist.data.images import load_image, upright_size
from vprdist.data.layouts import Layout, layout_of, read_city_cached
from vprdist.data.palette import palette_of
from vprdist.errors import UserError
from vprdist.report.page.contents import Figure, NoPictures, Pictures, View
from vprdist.semantics.arms import PLACEBO_WORDS, masks_of, stretch_of
from vprdist.semantics.cache import Cache, open_cache
from vprdist.semantics.filling import UNTOLD, filled, filled_words
from vprdist.semantics.masks import Mask
from vprdist.semantics.resize import placed, placed_mask
from vprdist.spec.input import InputSpec
from vprdist.spec.trial import TrialSpec

WIDTH, QUALITY = 200, 72
Pixels = npt.NDArray[np.uint8]


def pictures_of(trial: TrialSpec) -> Pictures:
    """The pictures of a trial's validation cities; none, with the reason, where the data cannot be reached."""
    try:
        layout = layout_of(trial.data)
        known = layout.names()
    except UserError as error:
        return NoPictures(str(error))
    if missing := [city for city in trial.data.validate_cities if city not in known]:
        return NoPictures(f"{trial.data.root}: no such city: {missing[0]!r}.")
    return DataPictures(layout, trial.data.validate_cities)


class DataPictures:
    """Pictures of a data set. What cannot be read is None: a page with gaps is better than no page."""

    reason: str | None = None

    def __init__(self, layout: Layout, cities: tuple[str, ...]) -> None:
        self.layout, self.cities = layout, cities
        self._paths: dict[tuple[str, str], dict[str, Path]] = {}
        self._caches: dict[str, Cache | None] = {}

    def thumbnail(self, city: str, side: str, key: str) -> bytes | None:
        """The picture, `WIDTH` pixels wide."""
        # In a gallery of all cities a picture of another one may be retrieved.
        for name in dict.fromkeys((city, *self.cities)):
            if (pixels := self._pixels(name, side, key)) is not None:
                return _jpeg(pixels)
        return None

    def masked(self, city: str, side: str, key: str, trial: TrialSpec) -> list[View]:
        """The picture under the trial's mask, or the mask where it hides nothing; see `Pictures`."""
        for name in dict.fromkeys((city, *self.cities)):
            pixels = self._pixels(name, side, key)
            if pixels is not None and (mask_HW1 := self._mask(name, side, key, trial, pixels)) is not None:
                return _seen(trial, pixels, mask_HW1)
        return []

    def figure(self, trial: TrialSpec, count: int) -> list[Figure]:
        """Evenly spaced queries of the last validation city, with their classes and masks."""
        try:
            keys = read_city_cached(self.layout, self.cities[-1]).query.keys
            rows = np.unique(np.linspace(0, len(keys) - 1, count).astype(int))
            columns = [self._column(self.cities[-1], str(keys[row]), trial) for row in rows]
        except UserError:
            return []
        return [column for column in columns if column is not None]

    def _column(self, city: str, key: str, trial: TrialSpec) -> Figure | None:
        pixels, cache = self._pixels(city, "query", key), self._cache(trial)
        if pixels is None or cache is None or (mask_HW1 := self._mask(city, "query", key, trial, pixels)) is None:
            return None
        classes = placed(cache.activations(city, "query", key), pixels.shape[:2], cache.grid).argmax(axis=0)
        views = [View("picture", _jpeg(pixels)), View("classes", _jpeg(palette_of(cache.classes)[classes]))]
        if trial.input.hides:
            views += _views("mask", 255 * np.repeat(mask_HW1, 3, axis=2), trial.input)
        return Figure(city, key, (*views, *_seen(trial, pixels, mask_HW1)))

    def _pixels(self, city: str, side: str, key: str) -> Pixels | None:
        try:
            path = self._path(city, side, key)
            if path is None:
                return None
            height, width = upright_size(path)
            return load_image(path, max(1, round(WIDTH * height / width)), WIDTH)
        except (UserError, OSError):
            return None

    def _path(self, city: str, side: str, key: str) -> Path | None:
        """Where a picture lies; keys come from result files, and those of no row lead nowhere."""
        if (city, side) not in self._paths:
            found = next(each for each in read_city_cached(self.layout, city).sides if each.side == side)
            self._paths[city, side] = dict(zip(found.keys.tolist(), found.paths, strict=True))
        return self._paths[city, side].get(key)

    def _mask(self, city: str, side: str, key: str, trial: TrialSpec, pixels: Pixels) -> Mask | None:
        """(H, W, 1) of the picture's size, in [0, 1]: the trial's mask, or the placebo in its place."""
        cache = self._cache(trial)
        if cache is None or trial.input.mask_reduce is None:
            return None
        try:
            rows = next(each for each in read_city_cached(self.layout, city).sides if each.side == side)
            row = rows.keys.tolist().index(key)
            mask_hw = masks_of(trial.input, trial.seed, cache).mask(rows, row, trial.input.arm)
        except UserError:
            return None
        return placed_mask(mask_hw, (pixels.shape[0], pixels.shape[1]), cache.grid)[..., None]

    def _cache(self, trial: TrialSpec) -> Cache | None:
        path = trial.input.cache
        if path is None:
            return None
        if path not in self._caches:
            try:
                self._caches[path] = open_cache(Path(path))
            except UserError:
                self._caches[path] = None
        return self._caches[path]


def _seen(trial: TrialSpec, pixels: Pixels, mask_HW1: Mask) -> list[View]:
    """What the network is given: the masked picture in its form, or the mask beside the picture.

    At the features the picture is untouched: the mask is shown as the weights of its places, which have no scale.
    """
    given, mean = trial.input, trial.network.backbone.mean
    placebo = "" if given.placebo == "none" else f" ({PLACEBO_WORDS[given.placebo]})"
    if not given.hides:
        label = "weights of the features" if given.at_features else "mask beside it"
        return _views(f"{label}{placebo}", 255 * np.repeat(mask_HW1, 3, axis=2), given)
    fill, outline = given.mask_fill, given.placebo == "outline"
    untold = f" ({UNTOLD})" if mean is None and fill == "mean" else ""
    label = f"masked{filled_words(given)}{untold}{placebo}"
    if fill == "black":
        return _views(label, filled(pixels, mask_HW1, fill, outline), given)
    views, stretch = [View(label, _rounded_jpeg(filled(pixels, mask_HW1, fill, outline, mean)))], _stretch(given)
    if stretch > 1:
        bright = filled(pixels, np.minimum(stretch * mask_HW1, 1), fill, outline, mean)
        views.append(View(f"{label}, its mask stretched {stretch} x", _rounded_jpeg(bright)))
    return views


def _views(label: str, shown_HW3: npt.NDArray[np.float32], given: InputSpec) -> list[View]:
    """What is shown at its true brightness, and where its mask is dark by its reduction stretched as well."""
    views, stretch = [View(label, _rounded_jpeg(shown_HW3))], _stretch(given)
    if stretch > 1:
        views.append(View(f"{label}, stretched {stretch} x", _rounded_jpeg(stretch * shown_HW3)))
    return views


def _stretch(given: InputSpec) -> int:
    assert given.mask_reduce is not None
    return stretch_of(given.arm, given.mask_reduce)


def _rounded_jpeg(values: npt.NDArray[np.float32]) -> bytes:
    return _jpeg(np.round(values).clip(0, 255).astype(np.uint8))


def _jpeg(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY, optimize=True)
    return stream.getvalue()
