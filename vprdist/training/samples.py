"""Local features of training pictures, drawn from the trial's seed, for an aggregator that starts from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from vprdist.data.layouts import layout_of
from vprdist.data.places import Side
from vprdist.errors import CacheError, UserError
from vprdist.network.aggregators.base import Samples
from vprdist.network.areas import area_means
from vprdist.network.batch import Batch
from vprdist.network.inputs import PlaceReader, Reading, SideImages, stack_or_error
from vprdist.network.loading import loaded
from vprdist.network.model import PlaceNetwork
from vprdist.semantics.cache import Cache, open_cache
from vprdist.spec.start import NUM_PICTURES, PER_PICTURE
from vprdist.spec.trial import TrialSpec

BATCH_IMAGES = 32
STAGE = "sampling features of training pictures"
Picture = tuple[Side, int]


def samples_of(network: PlaceNetwork, trial: TrialSpec, stage: Callable[[str, int, int], None]) -> Samples:
    """Up to 50,000 features of training pictures, 100 of a picture at most, as the untrained network pools them.

    Pictures are drawn alike from all sides of all training cities, panoramas left out. Places of a picture are drawn
    alike too; where a mask weighs the pooling, by their weights, and none that has no weight.

    Args:
        network: in any mode; BatchNorm uses the statistics that the network starts with.
        stage: told what is done.

    Raises:
        CacheError: the aggregator asks for classes, and the trial has no cache.
        UserError: a picture that cannot be read.
    """
    pictures = drawn_pictures(trial)
    cache = _cache(trial) if trial.network.aggregator.fact("activations") else None
    features, labels = list[Tensor](), list[Tensor]()
    modes = {module: module.training for module in network.modules()}
    network.eval()
    for done, (seen_BChw, weights_B1hw) in _seen(network, trial, pictures):
        size = (seen_BChw.shape[2], seen_BChw.shape[3])
        for place, (side, row) in enumerate(pictures[done : done + len(seen_BChw)]):
            weights_N = None if weights_B1hw is None else weights_B1hw[place].flatten().cpu().numpy()
            chosen_N = torch.from_numpy(drawn_places(trial.seed, done + place, size[0] * size[1], weights_N))
            features.append(seen_BChw[place].flatten(1).T.cpu()[chosen_N])
            if cache is not None:
                labels.append(labels_of(cache, side, row, size).flatten()[chosen_N])
        stage(STAGE, done + len(seen_BChw), len(pictures))
    for module, training in modes.items():
        module.training = training
    none = torch.empty(0, 1)
    return Samples(
        torch.cat(features) if features else none, torch.cat(labels) if labels else None,
        () if cache is None else tuple(cache.classes), trial.seed,
    )  # fmt: skip


def drawn_pictures(trial: TrialSpec) -> list[Picture]:
    """Those that are looked at: at most as many as it takes, in the order of cities, sides and rows."""
    layout = layout_of(trial.data)
    cities = [layout.read(name) for name in trial.data.train]
    there = [(side, int(row)) for city in cities for side in city.sides for row in np.flatnonzero(~side.pano)]
    random = np.random.default_rng(trial.seed)
    count = min(NUM_PICTURES, len(there))
    return [there[place] for place in sorted(random.choice(len(there), count, replace=False))]


def drawn_places(
    seed: int, picture: int, count: int, weights_N: npt.NDArray[np.floating] | None
) -> npt.NDArray[np.int64]:
    """Places of a picture, without repetition and in their order: the first of an order in which a place comes early as
    often as its weight says (Efraimidis and Spirakis 2006).

    Args:
        picture: its number among the drawn ones.
        count: the picture's places.
        weights_N: how much each counts; None: all alike.
    """
    random = np.random.default_rng((seed, picture)).random(count)
    if weights_N is None:
        return np.sort(np.argsort(-random, kind="stable")[:PER_PICTURE])
    weights = weights_N.astype(np.float64)
    late = np.full(count, np.inf)
    np.divide(-np.log(random), weights, out=late, where=weights > 0)
    order = np.argsort(late, kind="stable")
    return np.sort(order[: min(PER_PICTURE, int((weights > 0).sum()))])


def labels_of(cache: Cache, side: Side, row: int, size: tuple[int, int]) -> Tensor:
    """(h, w) the number of the class with the largest mean activation over each of so many equal parts."""
    activations = torch.from_numpy(cache.activations(side.city, side.side, str(side.keys[row])))
    return area_means(activations[None].double(), size, cache.grid)[0].argmax(dim=0)


def _cache(trial: TrialSpec) -> Cache:
    if trial.input.cache is None:
        fault = f"the aggregator {trial.network.aggregator.title} starts from features with classes: it needs a cache"
        remedy = "Name a segmenter (trial.input.segmenter), or a cache, or another aggregator."
        raise CacheError("trial.input.cache", fault, None, remedy)
    return open_cache(Path(trial.input.cache))


@torch.no_grad()
def _seen(
    network: PlaceNetwork, trial: TrialSpec, pictures: list[Picture]
) -> Iterator[tuple[int, tuple[Tensor, Tensor | None]]]:
    """The features of some pictures, and the weights of places, with the number of the first of them."""
    reader = PlaceReader(trial, trial.picture_size)
    images: ConcatDataset[Reading | UserError] = ConcatDataset(
        [SideImages(reader, side, [row]) for side, row in pictures]
    )
    starts = range(0, len(pictures), BATCH_IMAGES)
    batches = [list(range(begin, min(begin + BATCH_IMAGES, len(pictures)))) for begin in starts]
    read: Iterator[Batch] = loaded(images, trial.run.workers, collate=stack_or_error, batch_sampler=batches)
    device = network.stem.mean.device
    for begin, batch in zip(starts, read, strict=True):
        image, extra = batch.image.to(device), None if batch.extra is None else batch.extra.to(device)
        if network.mask is not None and extra is not None:
            extra = network.mask(image, extra)
        features = network.features(image, extra).last
        weights = None
        if network.stem.at_features and extra is not None:
            weights = network.stem.weights(extra, (features.shape[2], features.shape[3]))
        yield begin, (features, weights)
