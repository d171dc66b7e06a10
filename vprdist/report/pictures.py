"""Small pictures of a sweep's places for its page, read from the data and the cache only when the page asks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from vprdist.data.images import load_image, upright_size
from vprdist.data.layouts import Layout, layout_of, read_city_cached
from vprdist.data.palette import PALETTE
from vprdist.errors import UserError
from vprdist.report.page.contents import Figure, NoPictures, Pictures
from vprdist.semantics.cache import Cache, open_cache
from vprdist.semantics.masks import reduce_mask
from vprdist.semantics.resize import placed
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

    def masked(self, city: str, key: str, trial: TrialSpec) -> bytes | None:
        """The query times the trial's mask, brightened to its maximum; None for a placebo, which jobs alone draw."""
        pixels = self._pixels(city, "query", key)
        if pixels is None or trial.input.placebo != "none" or (mask := self._mask(city, key, trial, pixels)) is None:
            return None
        return _jpeg((pixels * mask[..., None]).astype(np.uint8))

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
        if pixels is None or cache is None or (mask := self._mask(city, key, trial, pixels)) is None:
            return None
        classes = placed(cache.activations(city, "query", key), pixels.shape[:2], cache.grid).argmax(axis=0)
        grey = np.repeat((255 * mask[..., None]).astype(np.uint8), 3, axis=2)
        views = (pixels, PALETTE[classes], grey, (pixels * mask[..., None]).astype(np.uint8))
        return Figure(city, key, *map(_jpeg, views))

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

    def _mask(self, city: str, key: str, trial: TrialSpec, pixels: Pixels) -> npt.NDArray[np.float32] | None:
        """(H, W) of the picture's size, its maximum at 1."""
        cache = self._cache(trial)
        if cache is None or trial.input.mask_reduce is None:
            return None
        try:
            own = cache.activations(city, "query", key, trial.input.class_names)
            activations = placed(own, pixels.shape[:2], cache.grid)
        except UserError:
            return None
        mask = reduce_mask(np.asarray(activations), trial.input.mask_reduce)
        return np.asarray(mask / max(float(mask.max()), 1e-6), np.float32)

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


def _jpeg(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY, optimize=True)
    return stream.getvalue()
