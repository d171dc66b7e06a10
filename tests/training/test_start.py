"""Aggregators that start from features of training pictures: drawn, clustered, kept, shared by ranks, resumed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.making import CPU, losses, make_cache, make_trial, run_here, weights_of
from tests.worlds import write_small_tree
from vprdist.data.layouts.msls import read_city
from vprdist.distributed.world import World
from vprdist.errors import CacheError, Stopped, TrainingError
from vprdist.network.clusters import centres_of
from vprdist.network.inputs import PlaceReader, stack
from vprdist.network.model import PlaceNetwork, build_network
from vprdist.semantics.cache import open_cache
from vprdist.spec.doors import AggregatorName
from vprdist.spec.network import NetworkSpec
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import TrialSpec
from vprdist.training import samples, start
from vprdist.training.run import run_trial
from vprdist.training.samples import drawn_pictures, drawn_places, samples_of
from vprdist.training.start import start_aggregator, start_digest
from vprdist.training.trained import trained_network

SIZE = (48, 80)  # 3 x 5 places a picture


def vlad_trial(tree: Path, cache: Path | None = None, mode: str = "rgb", **more: Any) -> TrialSpec:
    named = {"name": "netvlad", "clusters": 4, "start": "clusters", **more.pop("aggregator", {})}
    train = {"image_size": SIZE, "steps": 3, **more.pop("train", {})}
    trial = make_trial(tree, cache, mode, **train)
    pool = AggregatorName.model_validate(named)
    network = trial.network.model_copy(update={"aggregator": pool, **more.pop("network", {})})
    given = trial.input.model_copy(update=more.pop("input", {}))
    return trial.model_copy(update={"network": network, "input": given, **more})


def shade_trial(tree: Path, cache: Path | None, mode: str = "masked", **more: Any) -> TrialSpec:
    pool = AggregatorName.of("sralnet", clusters=3, shadows=2)
    trial = vlad_trial(tree, cache, mode, **more)
    return trial.model_copy(update={"network": trial.network.model_copy(update={"aggregator": pool})})


def begun(trial: TrialSpec, runs: Path, said: list[str] | None = None) -> PlaceNetwork:
    network = build_network(trial, None)
    start_aggregator(network, trial, runs, CPU, lambda *stage: None, (list[str]() if said is None else said).append)
    return network


def states(network: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.pool.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_start_is_the_clusters_of_what_the_network_sees(small_tree, tmp_path):
    """Recomputed picture by picture: all 32 pictures are drawn, and all of their 15 places."""
    trial = vlad_trial(small_tree)
    found = states(begun(trial, tmp_path))
    city, network = read_city(small_tree, "ada"), build_network(trial, None).eval()
    reader, features = PlaceReader(trial, SIZE), []
    for side in city.sides:
        for row in range(len(side)):
            with torch.no_grad():
                seen = network.features(stack([reader.read(side, row)]).image, None).last
            features.append(nn.functional.normalize(seen[0].flatten(1).T, dim=1))
    assert sum(map(len, features)) == 32 * 15
    together = torch.cat(features)
    expected = centres_of(together, 4, seed=trial.seed)
    assert torch.allclose(found["centres"], expected.float(), atol=1e-5)
    assert not same(found, states(build_network(trial, None)))
    assert all(module.training for module in begun(trial, tmp_path).modules())


def test_pictures_and_places_are_drawn_from_the_seed(small_tree, monkeypatch):
    trial = vlad_trial(small_tree)
    monkeypatch.setattr(samples, "NUM_PICTURES", 9)
    monkeypatch.setattr(samples, "PER_PICTURE", 6)
    told = list[tuple[str, int, int]]()
    some = samples_of(build_network(trial, None), trial, lambda *stage: told.append(stage))
    assert some.features_NC.shape == (9 * 6, 256) and told[-1][1:] == (9, 9) and some.labels_N is None
    names = [
        [(side.side, row) for side, row in drawn_pictures(trial.model_copy(update={"seed": seed}))]
        for seed in (0, 0, 1)
    ]
    assert names[0] == names[1] != names[2] and len(set(names[0])) == 9
    places = drawn_places(0, 3, 50, None)
    assert list(places) == sorted(set(places)) and len(places) == 6
    assert list(places) == list(drawn_places(0, 3, 50, None)) != list(drawn_places(0, 4, 50, None))
    monkeypatch.setattr(samples, "NUM_PICTURES", 500)
    assert len(drawn_pictures(trial)) == 32, "all there are"


def test_places_are_drawn_as_often_as_a_mask_weighs_them(monkeypatch):
    monkeypatch.setattr(samples, "PER_PICTURE", 1)
    weights = np.array([0.0, 1.0, 3.0, 0.0])
    counts = np.bincount([int(drawn_places(0, picture, 4, weights)[0]) for picture in range(4000)], minlength=4)
    assert counts[0] == counts[3] == 0 and counts[2] / counts[1] == pytest.approx(3, rel=0.15)
    monkeypatch.setattr(samples, "PER_PICTURE", 3)
    assert list(drawn_places(0, 0, 4, weights)) == [1, 2], "no place that counts nothing"
    assert len(drawn_places(0, 0, 4, np.zeros(4))) == 0


def test_a_start_is_kept_for_other_trials_and_equals_a_fresh_one(small_tree, tmp_path, monkeypatch):
    trial, said = vlad_trial(small_tree), list[str]()
    made = states(begun(trial, tmp_path / "a", said))
    (kept,) = (tmp_path / "a/data/starts").glob("*.pt")
    assert kept.stem == start_digest(trial) and str(kept) in said[0] and len(said) == 1
    slower = vlad_trial(small_tree, train={"lr": 1e-3}, network={"unfreeze": "all"})
    assert slower.trial_id != trial.trial_id and start_digest(slower) == kept.stem
    fresh = states(begun(slower, tmp_path / "b"))
    monkeypatch.setattr(start, "samples_of", None)  # nothing is looked at again
    said.clear()
    read = states(begun(slower, tmp_path / "a", said))
    assert same(read, made) and same(fresh, made)
    assert said == [f"netvlad starts from what an earlier run made of the training pictures: {kept}"]


def test_what_a_start_depends_on_is_in_its_digest(small_tree):
    trial = vlad_trial(small_tree)
    assert trial.digests is not None
    others = [
        trial.model_copy(update={"seed": 1}),
        vlad_trial(small_tree, aggregator={"clusters": 5}),
        vlad_trial(small_tree, aggregator={"form": 1}),
        vlad_trial(small_tree, train={"image_size": (64, 64)}),
        vlad_trial(small_tree, train={"precision": "bf16"}),
        trial.model_copy(update={"network": NetworkSpec(backbone="resnet34", aggregator=trial.network.aggregator)}),
        trial.model_copy(update={"digests": trial.digests.model_copy(update={"dataset": "other"})}),
        trial.model_copy(update={"digests": trial.digests.model_copy(update={"weights": "other"})}),
    ]
    assert len({start_digest(each) for each in (trial, *others)}) == len(others) + 1


def test_a_kept_start_that_is_damaged_is_made_again(small_tree, tmp_path):
    trial, said = vlad_trial(small_tree), list[str]()
    made = states(begun(trial, tmp_path))
    (kept,) = (tmp_path / "data/starts").glob("*.pt")
    kept.write_bytes(kept.read_bytes()[:1000])
    assert same(states(begun(trial, tmp_path, said)), made)
    torch.save({"centres": torch.zeros(4, 256)}, kept)
    assert same(states(begun(trial, tmp_path, said)), made)
    assert sum("cannot be used and is made again" in line for line in said) == 2
    assert "no assignment.weight" in "".join(said)


def test_a_resumed_run_equals_an_uninterrupted_one(small_tree, tmp_path):
    """Whether what was kept is still there or not: the checkpoint has the parameters."""
    trial = vlad_trial(small_tree, train={"steps": 5})
    whole = run_here(trial, tmp_path / "one/trials/t")
    for name in ("two", "three"):
        folder = tmp_path / name / "trials/t"
        with pytest.raises(Stopped):
            run_trial(trial, folder, World(num_threads=1, should_stop=partial(has_steps, folder, 2)))
        assert 0 < len(losses(folder)) < 5
        (kept,) = (tmp_path / name / "data/starts").glob("*.pt")
        kept.unlink() if name == "three" else None
        again = run_here(trial, folder)
        assert (again.final_loss, again.metrics, again.untrained) == (whole.final_loss, whole.metrics, whole.untrained)
        assert same(weights_of(tmp_path / "one/trials/t", trial), weights_of(folder, trial))


def has_steps(folder: Path, count: int) -> bool:
    return (folder / "metrics.jsonl").exists() and len(losses(folder)) >= count


def test_a_network_that_nobody_trains_starts_too_and_is_found_again(small_tree, tmp_path):
    trial = vlad_trial(small_tree, train={"steps": 0})
    folder = tmp_path / "trials/t"
    row = run_here(trial, folder)
    assert row.steps == 0
    found = states(trained_network(trial, folder))
    assert same(found, states(begun(trial, tmp_path))) and not same(found, states(build_network(trial, None)))


def test_too_few_features_are_one_error(small_tree, tmp_path):
    trial = vlad_trial(small_tree, aggregator={"clusters": 481})
    with pytest.raises(TrainingError, match=r"clusters: k-means needs as many different features .* 481; found 4"):
        begun(trial, tmp_path)


def test_random_centres_look_at_no_picture(small_tree, tmp_path):
    trial = vlad_trial(small_tree, aggregator={"start": "random"})
    assert same(states(begun(trial, tmp_path)), states(build_network(trial, None)))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("at", ["picture", "features"])
def test_sralnet_starts_from_the_labels_of_the_cache(small_tree, tmp_path, at):
    cache = make_cache(small_tree, tmp_path)
    trial = shade_trial(small_tree, cache, input={"mask_at": at})
    network = build_network(trial, None)
    some = samples_of(network, trial, lambda *stage: None)
    assert some.labels_N is not None and len(some.labels_N) == len(some.features_NC) > 300
    held, (side, row) = open_cache(cache), drawn_pictures(trial)[0]
    mean = held.activations(side.city, side.side, str(side.keys[row])).astype(float)
    # 16 x 20 cells of activations in 3 x 5 places: columns come out even, rows are cut in thirds.
    thirds = np.repeat(mean, 3, axis=1).reshape(19, 3, 16, 5, 4).mean(axis=(2, 4))
    expected = thirds.argmax(axis=0).ravel()
    assert list(some.labels_N[:15]) == list(expected)
    made = states(begun(trial, tmp_path / "runs"))
    assert made["shadow_bias"].shape == (3, 2) and not same(made, states(network))
    row_found = run_here(trial, tmp_path / "runs/trials/t")
    assert row_found.final_loss is not None


def test_classes_need_a_cache(small_tree, tmp_path):
    with pytest.raises(CacheError, match="the aggregator sralnet starts from features with classes: it needs a cache"):
        begun(shade_trial(small_tree, None, "rgb"), tmp_path)


@pytest.mark.slow
def test_two_gloo_ranks_equal_one(tmp_path, two_ranks):
    tree = write_small_tree(tmp_path / "tree")
    trial = vlad_trial(tree, train={"micro_pairs": 1})
    one = run_here(trial, tmp_path / "one/trials/t")
    two_ranks.run((trial, tmp_path / "two/trials/t"))
    two = ResultRow.model_validate_json((tmp_path / "two/trials/t/result.json").read_text())
    assert two.num_ranks == 2 and two.untrained == one.untrained
    kept = [next((tmp_path / name / "data/starts").glob("*.pt")) for name in ("one", "two")]
    assert same(*(torch.load(path) for path in kept))
    found, expected = losses(tmp_path / "two/trials/t"), losses(tmp_path / "one/trials/t")
    assert np.allclose([found[step] for step in expected], list(expected.values()), rtol=1e-4)
