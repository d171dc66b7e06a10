"""Whole trials on small trees: what is trained, what is reported, what changes nothing, what is refused."""

from __future__ import annotations

import importlib.util
import json
import time

import numpy as np
import pytest
import torch

from tests.training.making import CPU, losses, make_cache, make_trial, run_here, weights_of
from vprdist.data.graph import city_graph
from vprdist.data.layouts.msls import read_city
from vprdist.data.pairs import PairSampler
from vprdist.data.tasks import build_tasks
from vprdist.distributed.world import World
from vprdist.errors import CacheError, DataError, LaunchError, TrainingError, UserError
from vprdist.evaluation.evaluate import evaluate
from vprdist.files import write_text
from vprdist.network.inputs import KeptPictures, PlaceReader
from vprdist.network.model import build_network
from vprdist.semantics.importing import import_cache
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import RunSpec
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.checkpoint import load_checkpoint, save_checkpoint
from vprdist.training.loop import Trainer
from vprdist.training.metrics_log import progress_line
from vprdist.training.run import run_trial


def test_a_trial_leaves_its_result_last(small_tree, tmp_path):
    trial = make_trial(small_tree)
    row = run_here(trial, tmp_path / "t")
    assert row.trial_id == trial.trial_id
    assert row.steps == 6
    assert set(row.metrics) == {f"{m}@{k}" for m in ("recall", "map") for k in (1, 5, 10, 20)}
    assert set(row.untrained) == set(row.metrics)
    assert row.metrics["recall@1"] == row.metrics["map@1"]
    assert row.final_loss == losses(tmp_path / "t")[6]
    assert "no GPU: ran on the CPU" in row.fallbacks or torch.cuda.is_available()
    assert row.num_ranks == 1
    assert row.protocol.num_queries == 8
    assert sorted(losses(tmp_path / "t")) == [1, 2, 3, 4, 5, 6]


def test_the_same_seed_gives_the_same_result(small_tree, tmp_path):
    trial = make_trial(small_tree)
    one, two = run_here(trial, tmp_path / "one"), run_here(trial, tmp_path / "two")
    assert one.metrics == two.metrics
    assert losses(tmp_path / "one") == losses(tmp_path / "two")
    other = run_here(trial.model_copy(update={"seed": 1}), tmp_path / "other")
    assert losses(tmp_path / "other") != losses(tmp_path / "one")
    assert other.trial_id != one.trial_id


def test_the_reference_is_its_published_loop(small_tree, tmp_path):
    """Weights, statistics and losses against the loop written out plainly: micro-batches of 2, one side at a time."""
    trial = make_trial(
        small_tree, batch_pairs=6, micro_pairs=2, batch_norm="reference", chunked=True, chunk_queries=10, chunks=4,
        lr_drop_pairs=20, lr=0.1, steps=100,
    )  # fmt: skip
    row = run_here(trial, tmp_path / "t")
    network = build_network(trial, None).train()
    city = read_city(small_tree, "ada")
    sampler = PairSampler([city_graph(city, trial.data)], trial.seed, 10, passes=True)
    reader = PlaceReader(trial, trial.train.image_size)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
    expected = []
    for index in range(4):
        chunk = sampler.chunk(index)
        for begin in range(0, len(chunk), 6):
            batch, total = chunk.part(slice(begin, begin + 6)), 0.0
            count = len(batch) // 2
            for j in range(count):
                pair = batch.part(slice(2 * j, 2 * j + 2))
                query, partner = (
                    network(torch.stack([reader.read(side, row)[0] for row in rows.tolist()]))
                    for side, rows in ((city.query, pair.query), (city.database, pair.database))
                )
                distance = torch.nn.PairwiseDistance(2)(query, partner)
                s = torch.from_numpy(pair.similarity.copy())
                loss = s * 0.5 * distance**2 + (1 - s) * 0.5 * torch.clamp(0.5 - distance, min=0) ** 2
                (loss.mean() / count).backward()
                total += loss.mean().item() / count
            if count:
                optimizer.step()
                optimizer.zero_grad()
                expected.append(total)
        schedule.step()
    assert row.steps == len(expected)
    assert list(losses(tmp_path / "t").values()) == pytest.approx(expected, rel=1e-4)
    for name, value in weights_of(tmp_path / "t", trial).items():
        assert torch.allclose(value.float(), network.state_dict()[name].float(), rtol=1e-3, atol=1e-5), name


def test_batch_norm_statistics_stand_still_or_move_as_the_mode_says(small_tree, tmp_path):
    start = build_network(make_trial(small_tree), None).state_dict()
    moved = {}
    for mode in ("frozen", "reference", "sync"):
        trial = make_trial(small_tree, batch_norm=mode, steps=2)
        run_here(trial, tmp_path / mode)
        after = weights_of(tmp_path / mode, trial)
        moved[mode] = {name for name in after if "running_mean" in name and not torch.equal(after[name], start[name])}
    assert moved["frozen"] == set()
    assert any(name.startswith("units.layer1") for name in moved["reference"]), "layer1 is not trained under 2-1"
    assert {name.split(".")[1] for name in moved["sync"]} == {"bn1", "layer3"}


def test_only_trained_units_change(small_tree, tmp_path):
    trial = make_trial(small_tree)
    start = build_network(trial, None).state_dict()
    run_here(trial, tmp_path / "t")
    after = weights_of(tmp_path / "t", trial)
    changed = {
        name.split(".")[1] for name in after if name.startswith("units") and not torch.equal(after[name], start[name])
    }
    assert changed == {"conv1", "bn1", "layer3"}


def test_micro_batches_change_nothing_but_rounding(small_tree, tmp_path):
    whole, parts = make_trial(small_tree), make_trial(small_tree, micro_pairs=1)
    run_here(whole, tmp_path / "whole")
    run_here(parts, tmp_path / "parts")
    one, two = losses(tmp_path / "whole"), losses(tmp_path / "parts")
    assert np.allclose(list(one.values()), list(two.values()), rtol=1e-4)


def test_no_steps_is_the_untrained_network(small_tree, tmp_path):
    row = run_here(make_trial(small_tree, steps=0), tmp_path / "t")
    assert row.untrained == row.metrics
    assert row.final_loss is None


def test_what_a_kill_leaves_of_a_checkpoint_is_no_progress_and_goes_with_the_next_one(tmp_path):
    folder = TrialFolder(tmp_path)
    record = JobRecord(
        state="submitted", cluster="slurm", name="vprdist-x", token="token", attempt=1, job="m:f", parameters={},
        machine="m",
    )  # fmt: skip
    folder.add_start({"token": "token", "time": time.time() - 60})
    torn = tmp_path / "checkpoint" / ".last.pt.0123abcd.tmp"
    write_text(torn, "half of one")
    assert not folder.progressed(record)
    save_checkpoint(tmp_path / "checkpoint", {"trial_id": "x"})
    assert folder.progressed(record)
    assert [path.name for path in torn.parent.iterdir()] == ["last.pt"]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(small_tree, tmp_path):
    trial = make_trial(small_tree, lr=1e30, steps=50)
    with pytest.raises(UserError, match="must be finite"):
        run_here(trial, tmp_path / "t")
    assert not (tmp_path / "t" / "result.json").exists()


def test_the_checkpoint_before_training_diverged_is_good_and_the_step_is_named(small_tree, tmp_path):
    trial = make_trial(small_tree, lr=0.01, steps=50)
    good = trial.model_copy(update={"run": RunSpec(log_steps=20, evaluate_steps=2)})
    cities = [read_city(small_tree, "ada")]
    graphs = [city_graph(city, trial.data) for city in cities]
    tasks = build_tasks([read_city(small_tree, "bob")], trial)
    network = build_network(trial, None)
    reader = PlaceReader(trial, trial.train.image_size)

    def measure(step: int) -> None:
        if step == 4:  # from here on it goes wrong
            for group in made.optimizer.param_groups:
                group["lr"] = 1e30
            made._rate = lambda step: 1e30
        evaluate(network, trial, tasks, CPU)

    made = Trainer(good, network, cities, graphs, reader, CPU, tmp_path / "t", lambda row: None, evaluate=measure)
    with pytest.raises(TrainingError, match=r"^step 6|descriptors must be finite") as caught:
        made.run()
    state = load_checkpoint(tmp_path / "t" / "checkpoint", trial.trial_id)
    assert state is not None and state["progress"]["step"] == 4, caught.value
    again = build_network(trial, None)
    again.load_state_dict(state["network"])
    assert evaluate(again, trial, tasks, CPU) is not None, "the network of the last checkpoint can be evaluated"


def test_a_loss_that_is_not_finite_is_found_at_the_next_look_and_its_step_named(small_tree, tmp_path):
    trial = make_trial(small_tree, lr=1e12, steps=50)
    seldom = trial.model_copy(update={"run": RunSpec(log_steps=20)})
    with pytest.raises(TrainingError, match=r"^step \d+: the loss must be finite; found nan"):
        run_here(seldom, tmp_path / "t")
    assert not (tmp_path / "t" / "checkpoint" / "last.pt").exists()


@pytest.mark.parametrize("run", [{"workers": 2}, {"keep_mb": 0}, {"workers": 1, "keep_mb": 0}])
def test_workers_and_kept_pictures_change_nothing(small_tree, tmp_path, run):
    trial = make_trial(small_tree, make_cache(small_tree, tmp_path), "masked", steps=4)
    plain = run_here(trial, tmp_path / "plain")
    other = run_here(trial.model_copy(update={"run": RunSpec(log_steps=1, **run)}), tmp_path / "other")
    assert losses(tmp_path / "other") == losses(tmp_path / "plain")
    assert other.metrics == plain.metrics


def test_pictures_are_decoded_once_as_far_as_they_fit(small_tree):
    trial, city = make_trial(small_tree), read_city(small_tree, "ada")
    bytes_each = 3 * 32 * 40
    assert 2**20 // bytes_each > 32, "all of them fit one megabyte"
    kept = KeptPictures(trial.model_copy(update={"run": RunSpec(keep_mb=1)}), city.sides, (32, 40))
    plain, keeping = PlaceReader(trial, (32, 40)), PlaceReader(trial, (32, 40), kept)
    before = [plain.read(side, row)[0] for side in city.sides for row in range(len(side))]
    for side in city.sides:
        for row in range(len(side)):
            keeping.read(side, row)
            side.image_path(row).unlink()
    after = [keeping.read(side, row)[0] for side in city.sides for row in range(len(side))]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


def test_rows_tell_how_training_is_getting_on(small_tree, tmp_path):
    trial = make_trial(small_tree, steps=7)
    trial = trial.model_copy(update={"run": RunSpec(log_steps=3)})
    run_here(trial, tmp_path / "t")
    lines = [json.loads(line) for line in (tmp_path / "t" / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in lines if row["kind"] == "train"]
    assert [row["step"] for row in rows] == [3, 6, 7]
    for row in rows:
        assert row["steps"] == 7 and row["pairs_per_s"] > 0 and 0 <= row["null_share"] <= 1
    assert rows[-1]["left_s"] == 0 < rows[0]["left_s"]
    line = progress_line({**rows[0], "loss": 0.01234567, "null_share": 0.25, "pairs_per_s": 31.5, "left_s": 61})
    assert line == "step 3/7 · loss 0.01235 · 25% null · 31.5 pairs/s · 1 min 01 s left"


def test_tensorboard_is_written_where_it_is_asked_for(small_tree, tmp_path):
    trial = make_trial(small_tree, steps=2)
    asked = trial.model_copy(update={"run": RunSpec(tensorboard=True, log_steps=1)})
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(LaunchError, match="TensorBoard is not installed"):
            run_here(asked, tmp_path / "t")
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_here(asked, tmp_path / "t")
    board = EventAccumulator(str(tmp_path / "t" / "log" / "tensorboard")).Reload()
    written = {event.step: event.value for event in board.Scalars("train/loss")}
    assert written == pytest.approx(losses(tmp_path / "t"))


def test_bf16_is_close_to_float32_and_pools_in_float32(small_tree, tmp_path):
    rows = {p: run_here(make_trial(small_tree, precision=p), tmp_path / p) for p in ("float32", "bf16")}
    one, two = (np.array(list(losses(tmp_path / p).values())) for p in rows)
    assert not np.array_equal(one, two)
    assert np.allclose(one, two, rtol=0.05)
    assert rows["bf16"].trial_id != rows["float32"].trial_id


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("city", ["ada", "bob"])
def test_a_missing_picture_is_one_message_from_workers_too(small_tree, tmp_path, workers, city):
    trial = make_trial(small_tree)
    quick = trial.evaluate.model_copy(update={"before_training": False})
    trial = trial.model_copy(update={"run": RunSpec(workers=workers), "evaluate": quick})
    for path in (small_tree / "train_val" / city / "query" / "images").glob("*.jpg"):
        path.unlink()
    with pytest.raises(DataError, match=rf"{city}_q\d+\.jpg: the picture is missing"):
        run_here(trial, tmp_path / "t")


def test_a_missing_picture_is_named(small_tree, tmp_path):
    trial = make_trial(small_tree)
    (small_tree / "train_val/bob/query/images/bob_q000.jpg").unlink()
    with pytest.raises(DataError, match=r"bob_q000\.jpg: the picture is missing"):
        run_here(trial, tmp_path / "t")


def test_a_cache_that_is_replaced_while_a_trial_runs_is_found_before_it_is_evaluated(small_tree, tmp_path, monkeypatch):
    trial, run = make_trial(small_tree, make_cache(small_tree, tmp_path), "masked", steps=1), Trainer.run

    def run_while_somebody_replaces(trainer):
        progress = run(trainer)
        for path in (tmp_path / "npz").iterdir():
            with np.load(path) as held:
                np.savez(path, keys=held["keys"], activations=13 - held["activations"])
        import_cache(tmp_path / "npz", small_tree, tmp_path / "cache")
        return progress

    monkeypatch.setattr(Trainer, "run", run_while_somebody_replaces)
    with pytest.raises(CacheError, match="must have the digest of the submission"):
        run_here(trial, tmp_path / "t")
    assert not (tmp_path / "t" / "result.json").exists()


def test_a_cut_picture_is_named(small_tree, tmp_path):
    trial = make_trial(small_tree)
    picture = small_tree / "train_val/bob/query/images/bob_q000.jpg"
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(DataError, match=r"bob_q000\.jpg: the picture cannot be read"):
        run_here(trial, tmp_path / "t")


@pytest.mark.parametrize("mode", ["masked", "rgb+mask", "rgb+semantics"])
def test_every_mode_trains_on_a_cache(small_tree, tmp_path, mode):
    trial = make_trial(small_tree, make_cache(small_tree, tmp_path), mode, steps=2)
    row = run_here(trial, tmp_path / "t")
    assert row.trial.input.mode == mode
    assert 0 <= row.metrics["recall@1"] <= 1
    side = read_city(small_tree, "bob").query
    image, extra = PlaceReader(trial, (32, 40)).read(side, 3)
    stored = np.load(tmp_path / "npz" / "bob_query.npz")["activations"][3].astype(float)
    expected = stored if mode == "rgb+semantics" else stored[:10].sum(0, keepdims=True)
    assert image.shape == (3, 32, 40)
    assert np.array_equal(extra.numpy(), expected), "whole numbers: the network's stem divides them"


@pytest.mark.parametrize("placebo", ["random", "image", "classes"])
def test_a_placebo_takes_the_masks_place(small_tree, tmp_path, placebo):
    """Recomputed from the source; the same for every reader, another for another seed."""
    real = make_trial(small_tree, make_cache(small_tree, tmp_path), "masked", steps=0)
    trial = real.model_copy(update={"input": real.input.model_copy(update={"placebo": placebo}), "seed": 5})
    side = read_city(small_tree, "bob").query
    stored = np.load(tmp_path / "npz" / "bob_query.npz")["activations"].astype(float)
    masks = stored[:, :10].sum(1)
    read = [PlaceReader(trial, (32, 40)).read(side, row)[1].numpy()[0] for row in range(len(side))]
    for row, mask in enumerate(read):
        if placebo == "random":
            assert np.allclose(np.sort(mask, axis=None), np.sort(masks[row], axis=None), atol=1e-6)
            assert not np.allclose(mask, masks[row], atol=1e-3)
        elif placebo == "image":
            same = [other for other in range(len(side)) if np.allclose(mask, masks[other], atol=1e-6)]
            assert same and same != [row]
        else:
            (rest,) = [i for i in range(10) if np.allclose(mask, stored[row, 10:].sum(0) + stored[row, i])]
            assert rest is not None
        again = PlaceReader(trial, (32, 40)).read(side, row)[1].numpy()[0]
        assert np.array_equal(again, mask)
    other = PlaceReader(trial.model_copy(update={"seed": 6}), (32, 40))
    assert any(not np.array_equal(other.read(side, row)[1].numpy()[0], mask) for row, mask in enumerate(read))
    assert run_here(trial, tmp_path / "t").trial.input.placebo == placebo


def test_a_copy_on_the_nodes_disk_gives_the_same_result_and_a_fallback_is_recorded(small_tree, tmp_path, small_disk):
    trial = make_trial(small_tree, make_cache(small_tree, tmp_path), "masked", steps=2)
    shared = run_here(trial, tmp_path / "shared")
    rows = {}
    for name, scratch in (("nvme", tmp_path / "nvme"), ("tiny", small_disk(16_384))):
        run_trial(trial, tmp_path / name, World(num_threads=1, scratch=scratch))
        rows[name] = ResultRow.model_validate_json((tmp_path / name / "result.json").read_text())
        assert rows[name].metrics == shared.metrics
        assert losses(tmp_path / name) == losses(tmp_path / "shared")
        assert rows[name].trial == trial, "the result tells of the shared cache"
    assert rows["nvme"].fallbacks == shared.fallbacks
    assert list((tmp_path / "nvme").glob("vprdist-*/*/manifest.json"))
    (fallback,) = set(rows["tiny"].fallbacks) - set(shared.fallbacks)
    assert "the cache was not copied to" in fallback
