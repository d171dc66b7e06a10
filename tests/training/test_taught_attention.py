"""Attention that cached activations teach, trained: its losses are told apart and exact, however a step is divided."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.training.making import (
    CPU,
    TwoRanks,
    check_same_weights,
    losses,
    make_cache,
    make_trial,
    run_here,
    weights_of,
)
from vprdist.data.graph import city_graph
from vprdist.data.layouts.msls import read_city
from vprdist.errors import CacheError, Stopped
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network, set_mode
from vprdist.prepare.resolve import Resolver
from vprdist.semantics.cache import open_cache
from vprdist.spec.doors import AggregatorName, AttentionName
from vprdist.spec.network import NetworkSpec
from vprdist.spec.trial import TrialSpec
from vprdist.training.loop import Trainer
from vprdist.training.steps import RankParts

LOSSES = {"segvpr": "loss/semantics", "deattention": "loss/deattention"}
words = pytest.mark.parametrize("word", LOSSES)


def taught_trial(
    root: Path, folder: Path, word: str, aggregator: str = "gem", mode: str = "rgb", **train: object
) -> TrialSpec:
    cache = folder / "cache" if (folder / "cache").exists() else make_cache(root, folder)
    plain = make_trial(root, cache, mode, **train)
    attention, pool = AttentionName.of(word, at=("layer2",), weight=2.0), AggregatorName.of(aggregator)
    network = NetworkSpec(backbone="resnet18", weights="none", unfreeze="0-2", attention=attention, aggregator=pool)
    held = open_cache(cache).manifest.digest_of(("ada",) if mode == "rgb" else ("ada", "bob"))
    given = plain.input.model_copy(update={"cache": str(cache)})
    assert plain.digests is not None
    digests = plain.digests.model_copy(update={"cache": held})
    return plain.model_copy(update={"network": network, "input": given}).resolved(digests)


def trainer_of(trial: TrialSpec, root: Path, folder: Path) -> tuple[Trainer, list[dict[str, object]]]:
    city, rows = read_city(root, "ada"), list[dict[str, object]]()
    reader = PlaceReader(trial, trial.train.image_size, teaches=True)
    graphs, network = [city_graph(city, trial.data)], build_network(trial, None)
    return Trainer(trial, network, [city], graphs, reader, CPU, folder, rows.append, lambda: len(rows) >= 2), rows


def train_rows(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == "train"]


@words
@pytest.mark.parametrize(("aggregator", "mode"), [("gem", "rgb"), ("multi_scale_gem", "masked"), ("netvlad", "rgb")])
def test_three_steps_move_what_is_trained_and_tell_the_loss_apart(
    small_tree: Path, tmp_path: Path, word: str, aggregator: str, mode: str
) -> None:
    trial = taught_trial(small_tree, tmp_path, word, aggregator, mode, steps=3)
    still = build_network(trial, None).state_dict()
    row = run_here(trial, tmp_path / "run")
    moved = {key for key, value in weights_of(tmp_path / "run", trial).items() if not torch.equal(value, still[key])}
    assert {key.split(".")[1] for key in moved if key.startswith("units.")} == set(trial.network.trained)
    assert {key for key in still if key.startswith("attention.") and ".taught." in key} <= moved
    assert any(".mix." in key for key in moved) and not any("running" in key for key in moved)
    told = [each[LOSSES[word]] for each in train_rows(tmp_path / "run")]
    assert len(told) == 3 and min(told) > 0 and row.metrics["recall@1"] >= 0


@words
def test_its_gradient_is_that_of_one_graph_however_a_step_is_divided(
    small_tree: Path, tmp_path: Path, word: str
) -> None:
    found = {}
    for micro in (1, 2, 4):
        trial = taught_trial(small_tree, tmp_path, word, "multi_scale_gem", micro_pairs=micro, steps=1)
        trainer, _ = trainer_of(trial, small_tree, tmp_path / str(micro))
        network = trainer.network
        with torch.no_grad():
            for parameter in network.attention.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        (part,) = RankParts(trial, trainer.steps, range(1), CPU, trainer.graphs)
        batch = trainer.pictures[part]
        set_mode(network, trial.train.batch_norm, training=True)
        logged = trainer._drawn_pairs(batch)
        found[micro] = {key: each.grad.clone() for key, each in network.named_parameters() if each.grad is not None}
        if micro == 4:  # the slow way: one graph of everything
            network.zero_grad()
            sides = [network.described(*side.parts) for side in (batch.query, batch.partner)]
            distance = (sides[0].descriptors - sides[1].descriptors).square().sum(dim=1).add(1e-12).sqrt()
            s, margin = batch.similarity, trial.train.loss.parameters["margin"]
            loss = (s * distance**2 / 2 + (1 - s) * (margin - distance).clamp(min=0) ** 2 / 2).mean()
            name = LOSSES[word].removeprefix("loss/")
            beside = torch.cat([side.losses[name] for side in sides]).mean()
            (loss + beside).backward()
            slow = {key: each.grad.clone() for key, each in network.named_parameters() if each.grad is not None}
            assert float(logged[LOSSES[word]]) == pytest.approx(float(beside.detach()), rel=1e-5)
            assert float(logged["loss"]) == pytest.approx(float(loss.detach()), rel=1e-4), "without what is beside"
    for micro in (1, 2, 4):
        for key, value in slow.items():
            scale = float(value.abs().max()) + 1e-9
            assert torch.allclose(found[micro][key], value, atol=2e-3 * scale), (micro, key)


@words
@pytest.mark.parametrize("recipe", [{"batch_norm": "frozen"}, {"batch_norm": "reference", "optimizer": "adamw"}])
def test_a_resumed_run_equals_an_uninterrupted_one(
    small_tree: Path, tmp_path: Path, word: str, recipe: dict[str, object]
) -> None:
    trial = taught_trial(small_tree, tmp_path, word, micro_pairs=2, steps=4, **recipe)
    whole = run_here(trial, tmp_path / "whole")
    with pytest.raises(Stopped):
        trainer_of(trial, small_tree, tmp_path / "cut")[0].run()
    assert run_here(trial, tmp_path / "cut").metrics == whole.metrics
    check_same_weights(tmp_path / "whole", tmp_path / "cut", trial)


@pytest.mark.slow
@words
@pytest.mark.parametrize(
    "recipe",
    [{"micro_pairs": 1}, {"pairs": "all"}, {"micro_pairs": 2, "batch_norm": "sync", "lr": 1e-3}],
    ids=["drawn", "all", "sync"],
)
def test_two_gloo_ranks_learn_what_one_does(
    small_tree: Path, tmp_path: Path, word: str, recipe: dict[str, object], two_ranks: TwoRanks
) -> None:
    trial = taught_trial(small_tree, tmp_path, word, steps=4, **recipe)
    run_here(trial, tmp_path / "one")
    two_ranks.run((trial, tmp_path / "two"))
    found, expected = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert np.allclose([found[step] for step in expected], list(expected.values()), rtol=1e-3)
    told = [[row[LOSSES[word]] for row in train_rows(tmp_path / name)] for name in ("one", "two")]
    assert np.allclose(*told, rtol=1e-3)
    mine, theirs = (weights_of(tmp_path / name, trial) for name in ("one", "two"))
    still = build_network(trial, None).state_dict()
    for name in mine:
        one_way, other_way = ((after[name] - still[name]).float() for after in (mine, theirs))
        assert torch.allclose(one_way, other_way, atol=0.2 * float(one_way.abs().max()) + 1e-6), name


@words
def test_training_reads_activations_that_evaluation_does_not(small_tree: Path, tmp_path: Path, word: str) -> None:
    trial = taught_trial(small_tree, tmp_path, word)
    city = read_city(small_tree, "ada")
    reader = PlaceReader(trial, trial.train.image_size, teaches=True)
    beside = reader.teaching(city.query, 2)
    held = open_cache(tmp_path / "cache").activations("ada", "query", str(city.query.keys[2]))
    assert reader.read(city.query, 2)[1] is None and beside is not None and np.array_equal(beside, held)
    gone = trial.model_copy(update={"input": trial.input.model_copy(update={"cache": None})})
    assert PlaceReader(gone, trial.train.image_size).teaching(city.query, 0) is None
    with pytest.raises(CacheError, match=f"the attention {word} needs a cache of semantic activations"):
        PlaceReader(gone, trial.train.image_size, teaches=True)
    with pytest.raises(CacheError, match=f"the attention {word} needs a cache of semantic activations"):
        Resolver().resolve(gone.model_copy(update={"digests": None}))


@words
def test_only_the_cities_that_are_trained_on_need_a_cache(small_tree: Path, tmp_path: Path, word: str) -> None:
    trial = taught_trial(small_tree, tmp_path, word)
    assert trial.cached_cities == trial.measured_cities == ("ada",)
    assert not trial.model_copy(update={"train": trial.train.model_copy(update={"steps": 0})}).undigested.needs_cache
    plain = trial.model_copy(update={"network": NetworkSpec(backbone="resnet18", weights="none", unfreeze="0-2")})
    assert plain.undigested.input.cache is None and not plain.needs_cache
    masked = taught_trial(small_tree, tmp_path, word, mode="masked")
    assert masked.cached_cities == ("ada", "bob")


def test_a_class_to_reject_must_be_of_the_table() -> None:
    attention = {"name": "deattention", "rejected": ["sky", "cars"]}
    with pytest.raises(ValidationError, match=r"every entry must be one of the 19 classes"):
        TrialSpec.model_validate({"network": {"attention": attention}})
    TrialSpec.model_validate({"network": {"attention": attention}, "train": {"steps": 0}})


def test_a_checkpoint_of_another_table_begins_the_head_anew(small_tree: Path, tmp_path: Path) -> None:
    trial = taught_trial(small_tree, tmp_path, "segvpr", steps=1)
    run_here(trial, tmp_path / "run")
    network = trial.network.model_copy(update={"weights": str(tmp_path / "run" / "checkpoint" / "last.pt")})
    classes = tuple(f"class {number}" for number in range(7))
    other = trial.model_copy(
        update={"network": network, "input": trial.input.model_copy(update={"class_table": classes})}
    )
    started = build_network(other, tmp_path / "run" / "checkpoint" / "last.pt").state_dict()
    for name, value in weights_of(tmp_path / "run", trial).items():
        assert ".taught." in name or torch.equal(value, started[name])
    assert len(started["attention.layer2.taught.0.weight"]) == 7
