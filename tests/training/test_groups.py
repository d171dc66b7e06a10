"""Training on triplets with hard negatives and on places of several pictures: what is chosen, resume, ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.training.making import (
    CPU,
    check_same_weights,
    cut_here,
    losses,
    make_cache,
    make_trial,
    run_here,
    weights_of,
)
from vprdist.data.graph import city_graph
from vprdist.data.groups import TripletSampler
from vprdist.data.layouts.msls import read_city
from vprdist.errors import SweepFileError
from vprdist.evaluation.descriptors import describe
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network, set_mode
from vprdist.prepare.checks import check_data
from vprdist.spec.train import MiningSpec, TrainSpec
from vprdist.training.checkpoint import load_checkpoint, save_checkpoint
from vprdist.training.loop import Trainer
from vprdist.training.mining import Miner

TRIPLETS = {
    "batches": "triplets", "mining": MiningSpec(negatives=3, pool=12, positives=2), "chunked": True,
    "chunk_queries": 7, "batch_pairs": 2, "micro_pairs": 2,
}  # fmt: skip
PLACES = {"batches": "places", "place_pictures": 3}


def trainer_of(trial, root, folder):
    city, reader = read_city(root, "ada"), PlaceReader(trial, trial.train.image_size)
    graphs = [city_graph(city, trial.data)]
    return Trainer(trial, build_network(trial, None), [city], graphs, reader, CPU, folder, lambda row: None)


@pytest.mark.parametrize("recipe", [TRIPLETS, {**TRIPLETS, "pairs": "all"}, PLACES, {**PLACES, "pairs": "all"}])
def test_a_resumed_run_equals_an_uninterrupted_one(small_tree, tmp_path, recipe):
    trial = make_trial(small_tree, **{"steps": 7, **recipe})
    whole = run_here(trial, tmp_path / "whole")
    for steps in (1, 2, 3):  # within chunks and at their ends
        cut_here(trial, small_tree, tmp_path / "cut", steps)
    resumed = run_here(trial, tmp_path / "cut")
    assert resumed.final_loss == whole.final_loss and resumed.metrics == whole.metrics
    check_same_weights(tmp_path / "whole", tmp_path / "cut", trial)


@pytest.mark.parametrize("recipe", [TRIPLETS, {**PLACES, "pairs": "all"}])
def test_two_ranks_equal_one(small_tree, tmp_path, recipe, two_ranks):
    trial = make_trial(small_tree, **{"steps": 5, **recipe})
    run_here(trial, tmp_path / "one")
    two_ranks.run((trial, tmp_path / "two"))
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert one.keys() == two.keys() and len(one) == 5
    assert all(abs(one[step] - two[step]) < 1e-5 for step in one)
    one, two = (weights_of(tmp_path / name, trial) for name in ("one", "two"))
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-5), name


def test_the_hardest_negatives_and_the_nearest_positive_are_chosen(small_tree, tmp_path):
    trial = make_trial(small_tree)
    city = read_city(small_tree, "ada")
    graph, network = city_graph(city, trial.data), build_network(trial, None)
    set_mode(network, "frozen", training=False)
    reader = PlaceReader(trial, trial.train.image_size)
    sampler = TripletSampler([graph], 1, 12, (3, 14, 4))
    Miner(sampler, network, reader, [city], CPU, 0).mine(0)
    mined, found = sampler.chunk(0), sampler.candidates(0)
    rows = [(side, np.arange(len(side))) for side in city.sides]
    made = describe(network, reader, rows, CPU)
    assert made is not None
    query, database = np.split(made.values_ND.astype(np.float64), [len(city.query)])
    assert len(mined) > 3
    for place, (asked, chosen) in enumerate(zip(mined.query, mined.database, strict=True)):
        positives = [row for row in found.positives[place] if row >= 0]
        nearest = min(positives, key=lambda row: np.linalg.norm(query[asked] - database[row]))
        negatives = [row for row in found.pools[0] if graph.similarity[asked, row] == 0]
        hardest = sorted(negatives, key=lambda row: np.linalg.norm(query[asked] - database[row]))[:3]
        assert chosen.tolist() == [nearest, *hardest]
        assert mined.similarity[place].tolist() == [np.float32(graph.similarity[asked, nearest]), 0, 0, 0]


def test_descriptors_are_renewed_with_every_chunk_and_not_before(small_tree, tmp_path, monkeypatch):
    trial = make_trial(small_tree, **{"steps": 8, **TRIPLETS})
    mined = []
    real = Miner.mine
    monkeypatch.setattr(Miner, "mine", lambda self, chunk, said: (mined.append(chunk), real(self, chunk, said)))
    trainer = trainer_of(trial, small_tree, tmp_path)
    trainer.run()
    assert mined == sorted({trainer.steps.chunk(step) for step in range(8)}) and len(mined) > 2


def test_masks_and_workers_change_nothing_of_what_is_read(small_tree, tmp_path):
    cache = make_cache(small_tree, tmp_path)
    trial = make_trial(small_tree, cache, "masked", **{"steps": 3, **PLACES})
    run_here(trial, tmp_path / "none")
    run_here(trial.model_copy(update={"run": trial.run.model_copy(update={"workers": 2})}), tmp_path / "two")
    assert losses(tmp_path / "none") == losses(tmp_path / "two") and len(losses(tmp_path / "none")) == 3


def test_a_checkpoint_whose_triplets_are_damaged_is_not_gone_on_from(small_tree, tmp_path):
    trial = make_trial(small_tree, **{"steps": 5, **TRIPLETS})
    cut_here(trial, small_tree, tmp_path, 1)
    state = load_checkpoint(tmp_path / "checkpoint", trial.trial_id)
    assert state is not None
    rows = state["mined"]["rows"]
    for broken in (None, {"chunk": 0}, {**state["mined"], "rows": rows[:1]}, {**state["mined"], "rows": rows + 99}):
        save_checkpoint(tmp_path / "checkpoint", {**state, "mined": broken})
        trainer = trainer_of(trial, small_tree, tmp_path)
        assert trainer.progress.step == 0 and "triplets" in trainer.notices[-1]


def test_batches_of_triplets_end_with_their_chunk():
    with pytest.raises(ValidationError, match="at whose start descriptors are renewed"):
        TrainSpec(batches="triplets")


def test_more_places_than_the_cities_have_are_refused_before_anything_starts(small_tree):
    with pytest.raises(SweepFileError, match="a batch of 64 places of 3 pictures cannot be filled") as error:
        check_data(make_trial(small_tree, **{**PLACES, "batch_pairs": 64, "micro_pairs": 64}))
    assert "queries of the training cities have 2 positives" in str(error.value)
