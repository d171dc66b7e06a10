"""Augmented training: the same pictures whoever reads them, masks moved in every form, exact resume, a sheet to see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.training.making import check_same_weights, cut_here, losses, make_cache, make_trial, run_here
from vprdist.data.graph import city_graph
from vprdist.data.layouts.msls import read_city
from vprdist.data.places import City
from vprdist.distributed.ranks import Ranks
from vprdist.evaluation.sheet import network_views
from vprdist.network.inputs import KeptPictures, PlaceReader
from vprdist.network.loading import loaded
from vprdist.spec.augment import AugmentSpec
from vprdist.spec.doors import LossName
from vprdist.spec.trial import TrialSpec
from vprdist.training.augment import draw
from vprdist.training.augmented_sheet import GAP, LINE, write_augmented
from vprdist.training.batches import PairBatch, PairImages
from vprdist.training.samplers import sampler_of
from vprdist.training.steps import RankParts, Steps

AUGMENT = AugmentSpec(num_ops=3, magnitude=15.0)
FORMS = {
    "black": ("masked", {}),
    "mean of many": ("masked", {"mask_reduce": "mean"}),
    "noise": ("masked", {"mask_fill": "noise"}),
    "features": ("masked", {"mask_at": "features"}),
    "random": ("masked", {"placebo": "random"}),
    "outline": ("masked", {"placebo": "outline"}),
    "rgb+mask": ("rgb+mask", {}),
    "rgb+semantics": ("rgb+semantics", {}),
}


def formed(root: Path, cache: Path, form: str, **train: object) -> TrialSpec:
    mode, changes = FORMS[form]
    plain = make_trial(root, cache, mode, **train)
    masks = {} if mode == "rgb+semantics" else {"mask_reduce": "sum"}
    given = plain.input.model_copy(update={**masks, **changes})
    return TrialSpec.model_validate(plain.model_copy(update={"input": given}))


def batches(
    trial: TrialSpec, city: City, rank: int = 0, world: int = 1, workers: int = 0, first: int = 0, **kept: object
):
    graphs = [city_graph(city, trial.data)]
    steps = Steps(sampler_of(trial.train, graphs, trial.seed), trial.train)
    parts = RankParts(trial, steps, range(first, steps.count), Ranks(rank, world, torch.device("cpu")), graphs)
    pictures = PairImages(
        PlaceReader(trial, trial.train.image_size, **kept), [(city.query, city.database)], trial.train.augment
    )
    return list(loaded(pictures, workers, batch_size=None, sampler=parts))


def joined(ranks: list[list[PairBatch]], step: int, name: str) -> Tensor:
    """A tensor of a step's queries and partners, over all ranks, in the step's order."""
    order = torch.cat([torch.from_numpy(of_rank[step].part.places) for of_rank in ranks]).argsort()
    found = []
    for side in ("query", "partner"):
        whole = torch.cat([getattr(getattr(of_rank[step], side), name) for of_rank in ranks])
        found.append(whole.unflatten(0, (len(order), -1))[order].flatten(0, 1))
    return torch.cat(found)


SPLIT = {
    "frozen": {"micro_pairs": 2},
    "sync": {"micro_pairs": 2, "batch_norm": "sync"},
    "places": {"batches": "places", "place_pictures": 3, "micro_pairs": 2, "chunk_queries": 12},
}


@pytest.mark.parametrize("name", SPLIT)
def test_ranks_workers_kept_pictures_and_a_later_start_change_no_bit(small_tree, tmp_path, name):
    trial = formed(small_tree, make_cache(small_tree, tmp_path), "rgb+mask", augment=AUGMENT, **SPLIT[name])
    city = read_city(small_tree, "ada")
    alone = batches(trial, city)
    assert len(alone) == 6
    kept = KeptPictures(trial, city.sides, trial.train.image_size)
    for others in (
        [batches(trial, city, rank, 2) for rank in (0, 1)],
        [batches(trial, city, workers=2)],
        [batches(trial, city, kept=kept)],
        [batches(trial, city, kept=kept)],  # now they are there, and nothing wrote into them
    ):
        for step in range(6):
            for tensor in ("image", "extra"):
                assert torch.equal(joined(others, step, tensor), joined([alone], step, tensor)), (step, tensor)
    for before, after in zip(alone[3:], batches(trial, city, first=3), strict=True):
        assert all(map(torch.equal, before.tensors, after.tensors))


@pytest.mark.parametrize("batches_of", ["pairs", "places"])
@pytest.mark.parametrize("form", FORMS)
def test_pictures_and_what_is_added_are_moved_as_was_drawn(small_tree, tmp_path, form, batches_of):
    cache = make_cache(small_tree, tmp_path)
    train = SPLIT["places"] if batches_of == "places" else {}
    trial = formed(small_tree, cache, form, **{"augment": AUGMENT, "steps": 3, **train})
    city = read_city(small_tree, "ada")
    reader = PlaceReader(trial, trial.train.image_size)
    moves = 0
    for step, batch in enumerate(batches(trial, city)):
        pairs = batch.part.pairs
        wanted = [(city.query, batch.query, place, 0, place, row) for place, row in enumerate(pairs.query)]
        rows = pairs.database.reshape(len(pairs), -1)
        for (place, partner), row in np.ndenumerate(rows):
            number = place * rows.shape[1] + partner
            wanted.append((city.database, batch.partner, number, 1 + partner, place, row))
        for side, read, number, which, place, row in wanted:
            image, extra = reader.read(side, int(row))
            drawn = draw(AUGMENT, 40 / 32, (trial.seed, step, which, place))
            moves += drawn.matrix is not None
            assert torch.equal(read.image[number], drawn.picture(image))
            assert torch.equal(read.extra[number], drawn.added(extra, reader.grid))
            assert read.extra.dtype == extra.dtype and int(read.extra[number].max()) <= int(extra.max())
    assert moves > 10


def test_no_augmentation_reads_what_was_read_before_there_was_any(small_tree, tmp_path):
    trial = formed(small_tree, make_cache(small_tree, tmp_path), "rgb+semantics")
    city = read_city(small_tree, "ada")
    reader = PlaceReader(trial, trial.train.image_size)
    for batch in batches(trial, city):
        for place, row in enumerate(batch.part.pairs.query):
            image, extra = reader.read(city.query, int(row))
            assert torch.equal(batch.query.image[place], image) and torch.equal(batch.query.extra[place], extra)


TRIPLETS = {"batches": "triplets", "mining": {"negatives": 2, "pool": 10, "positives": 3}, "chunked": True}
CURRENT = {
    **SPLIT["places"], "micro_pairs": 4, "loss": LossName.of("multi_similarity"), "precision": "bf16",
    "weight_decay": 1e-3,
}  # fmt: skip
"""As `recipe: current`."""
RESUMED = {
    "black": CURRENT,
    "mean of many": {},
    "features": SPLIT["places"],
    "rgb+semantics": {**TRIPLETS, "chunk_queries": 8},
}


@pytest.mark.parametrize("form", RESUMED)
def test_a_resumed_run_with_augmentations_is_exact(small_tree, tmp_path, form):
    trial = formed(
        small_tree, make_cache(small_tree, tmp_path), form, augment=AUGMENT, optimizer="adamw", lr=1e-3,
        backbone_lr_factor=0.3, schedule="linear", warmup=0.2, **RESUMED[form],
    )  # fmt: skip
    whole = run_here(trial, tmp_path / "whole")
    assert (tmp_path / "whole" / "predictions" / "augmented.png").is_file()
    cut_here(trial, small_tree, tmp_path / "cut", 3)
    resumed = run_here(trial, tmp_path / "cut")
    assert (resumed.metrics, resumed.final_loss) == (whole.metrics, whole.final_loss)
    check_same_weights(tmp_path / "whole", tmp_path / "cut", trial)
    still = run_here(TrialSpec.model_validate(without(trial)), tmp_path / "still")
    assert losses(tmp_path / "still") != losses(tmp_path / "whole") and still.trial_id != whole.trial_id
    assert not (tmp_path / "still" / "predictions" / "augmented.png").exists()


@pytest.mark.parametrize("form", ["black", "mean of many", "features", "noise", "rgb+semantics"])
def test_a_sheet_shows_each_picture_as_it_is_and_as_it_is_trained_on(small_tree, tmp_path, form):
    trial = formed(small_tree, make_cache(small_tree, tmp_path), form, augment=AUGMENT)
    city = read_city(small_tree, "ada")
    (batch, *_) = batches(trial, city)
    reader = PlaceReader(trial, trial.train.image_size)
    write_augmented(tmp_path / "sheet.png", PairImages(reader, [city.sides], AUGMENT), batch.part)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    scale, cell_width = 3, 40 * 3 + GAP  # pictures of 32x40, drawn three times as large
    cell_height = (sheet.shape[0] - 2 * LINE) // len(batch.part.pairs)
    for number in range(len(batch.part.pairs)):
        pairs, readings = batch.part.pairs, []
        for side, rows, read in zip(
            city.sides, (pairs.query, pairs.database), (batch.query, batch.partner), strict=True
        ):
            readings += [reader.read(side, int(rows[number])), (read.image[number], read.extra[number])]
        for column, (image, extra) in enumerate(readings):
            top, left = 3 * LINE + number * cell_height, GAP + column * cell_width
            found = sheet[top : top + 32 * scale : scale, left : left + 40 * scale : scale]
            assert np.array_equal(found, np.asarray(network_views(reader, image, extra)[0]))


def without(trial: TrialSpec) -> TrialSpec:
    return trial.model_copy(update={"train": trial.train.model_copy(update={"augment": None})})
