"""Probes from sums: worth what a pass for each arm is worth, made once, by whoever is free."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests import warm
from tests.probing import EVERY, PLAYERS, at_features, copied, finished_trial, order_of, silent
from tests.training.choices import SMALL
from tests.training.making import CPU
from vprdist.arrow import map_rows, write_rows
from vprdist.data.layouts.msls import read_city
from vprdist.data.tasks import breakdown_tasks, build_tasks
from vprdist.errors import UserError
from vprdist.evaluation.descriptors import describe_arms
from vprdist.evaluation.evaluate import Extra, evaluate_arms
from vprdist.evaluation.retrieve import retrieve
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network, set_mode
from vprdist.probes import make as probe_making
from vprdist.probes import sums as making
from vprdist.probes import worker as probe_worker
from vprdist.probes.make import WORKER, make_probes, shares_of
from vprdist.probes.order import ProbeOrder
from vprdist.probes.pooled import Asked, Pooled, neighbours_on, pooled, width_of
from vprdist.probes.read import pictures_summed, queries_of, read_probes, reports
from vprdist.probes.sums import SOURCES, Sums, make_sums
from vprdist.probes.worker import work
from vprdist.spec.arms import Arm, classes_of
from vprdist.spec.class_table import table_of
from vprdist.spec.doors import AttentionName
from vprdist.spec.probes import check_pooled
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import CLASSES
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.trained import trained_network

TABLE = table_of("cityscapes")


def nobody_told(count: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module", params=["gem", "netvlad"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial that is over, without probes."""
    parameters = {"clusters": 3} if request.param == "netvlad" else {}
    return finished_trial(tmp_path_factory.mktemp(request.param), at_features(request.param, **parameters))


def pooled_of(trial_folder: Path, probes=EVERY) -> tuple[TrialSpec, Pooled, PlaceReader]:
    """A network, and its sums, which are made in its folder."""
    order, trial = order_of(trial_folder, probes, "pooled"), TrialFolder(trial_folder).trial()
    network = trained_network(trial, trial_folder)
    set_mode(network, trial.train.batch_norm, training=False)
    reader = PlaceReader(trial, trial.train.image_size)
    city = read_city(Path(trial.data.root), "bob")
    wanted = [(side, np.arange(len(side))[1:]) for side in city.sides]
    kinds = tuple(dict.fromkeys(SOURCES[kind] for _, kind in probes))
    sums = Sums(order.sums, wanted, reader.classes, width_of(network, reader.image_size), kinds)
    make_sums(sums, network, reader, 0, turn=1, device="a core", check=lambda: None)
    return trial, Pooled(network, sums, trial.seed), reader


def test_descriptors_are_those_of_a_pass_under_each_mask(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_passes(own, monkeypatch)


@pytest.mark.parametrize("word", ["salad", "gem+linear", "sralnet", "multi_scale_gem"])
def test_so_are_those_of_other_aggregators_of_sums(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {"clusters": 1} if word == "salad" else {}  # two places are there
    check_passes(finished_trial(tmp_path, at_features(word, **{**SMALL[word], **fewer})), monkeypatch)


def check_passes(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "BLOCK_PICTURES", 5)
    _, pooled, reader = pooled_of(own)
    arms = [Arm(classes_of(PLAYERS, subset, TABLE), kind) for subset, kind in EVERY]
    arms += [Arm((), "none"), Arm(CLASSES, "none"), Arm(("train",), "random")]
    passed = describe_arms(pooled.network, reader, pooled.sums.wanted, arms, CPU)
    assert passed is not None and len(pooled.sums.blocks) == 5
    monkeypatch.setattr("vprdist.probes.pooled.PART_ARMS", 7)
    monkeypatch.setattr("vprdist.probes.pooled.MIXED_NUMBERS", 3 * pooled.sums.width)
    found = [each.values_ND.copy() for each in pooled.descriptors(arms)]
    for arm, asked, got in zip(arms, passed, found, strict=True):
        assert np.abs(asked.values_ND - got).max() < 1e-6, arm
        assert np.allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)
    assert len({values.tobytes() for values in found}) > 25
    assert len(np.unique(found[-3], axis=0)) == 1, "nothing is seen: one descriptor"


def test_pooled_probes_are_worth_what_each_is_and_are_found_as_well(own: Path, tmp_path: Path) -> None:
    other = copied(own, tmp_path / "other")
    made: list[int] = []
    order = order_of(own, how="pooled")
    work(order, 0, 1, made.append)
    work(order_of(other), 0, 1, nobody_told)
    assert made == [16, 12] and not order.missing
    asked = queries_of(own)
    for metric in ("recall@1", "map@20"):
        pooled, each = (read_probes(order_of(folder), metric, asked, "all").values_KQ for folder in (own, other))
        assert np.mean(pooled == each) > 0.97, "a tie of descriptors may turn either way"
    parts = reports(order)
    assert [part.how for part in parts] == ["pooled"] * 3 and sum(len(part.probes) for part in parts) == 28
    assert parts[0].probes == () and parts[0].num_pictures == 24 and parts[0].seconds > 0
    before = {path: path.stat().st_mtime_ns for path in order.folder.parent.rglob("*") if path.is_file()}
    work(order, 0, 1, made.append)
    after = {path: path.stat().st_mtime_ns for path in order.folder.parent.rglob("*") if path.is_file()}
    assert before == after and made == [16, 12], "what is made is not made again"
    assert not [path for path in before if path.name.endswith(".lock")]


def test_blocks_that_are_there_are_kept_and_a_missing_one_is_made_again(own: Path, monkeypatch) -> None:
    monkeypatch.setattr(making, "BLOCK_PICTURES", 8)
    _, pooled, reader = pooled_of(own)
    files = sorted(pooled.sums.folder.glob("*.arrow"))
    assert len(files) == 3 * 3
    rows = {path: map_rows(path).values_KNM.copy() for path in files}
    before = {path: path.stat().st_mtime_ns for path in files}
    files[4].unlink()
    pooled_of(own)
    after = {path: path.stat().st_mtime_ns for path in sorted(pooled.sums.folder.glob("*.arrow"))}
    assert [path for path in files if before[path] != after[path]] == [files[4]]
    assert np.allclose(map_rows(files[4]).values_KNM, rows[files[4]], atol=1e-5)
    assert list(reader.classes) == list(map_rows(files[0]).names)


def test_an_order_of_other_kinds_makes_what_is_missing_alone(own: Path) -> None:
    pooled_of(own, EVERY[:7])
    order = order_of(own, how="pooled")
    assert len(list(order.sums.glob("*.arrow"))) == 1
    _, pooled, _ = pooled_of(own, EVERY[7:])
    assert len(list(order.sums.glob("*.arrow"))) == 3 and pooled.sums.kinds == ("random", "image", "none")


@pytest.mark.parametrize("fault", ["cut", "of other pictures"])
def test_a_block_that_cannot_be_is_one_message_that_says_what_to_delete(own: Path, fault: str) -> None:
    _, pooled, _ = pooled_of(own, EVERY[:7])
    (path,) = pooled.sums.folder.glob("*.arrow")
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        held = map_rows(path)
        values = held.values_KNM[:, 1:].copy()
        write_rows(path, held.names, held.first + 1, values, held.facts)
    with pytest.raises(UserError, match="a block of sums must be readable") as caught:
        list(pooled.descriptors([Arm(("building",))]))
    assert f"Delete it and run the sweep again: {path}" in str(caught.value)


def test_features_that_are_not_finite_are_a_message_and_leave_no_block(own: Path, monkeypatch, capsys) -> None:
    last = own / "checkpoint" / "last.pt"
    state = torch.load(last, weights_only=False)
    lost = {name: value * float("nan") for name, value in state["network"].items() if value.is_floating_point()}
    state["network"] |= lost
    torch.save(state, last)
    order = order_of(own, how="pooled")
    monkeypatch.setattr(sys, "stdin", io.StringIO(order.model_dump_json()))
    assert probe_worker.main(["0", "1"]) == 2
    said = UserError.from_json(json.loads(capsys.readouterr().out)["error"])
    assert "sums of features must be finite" in str(said) and not list(order.sums.glob("*.arrow"))


def test_sums_that_do_not_fit_the_disk_are_refused_before_any_is_made(tmp_path: Path, monkeypatch) -> None:
    side = SimpleNamespace(city="a", side="query", keys=np.array(["x", "y"]))
    sums = Sums(tmp_path / "sums", [(side, np.arange(2))], CLASSES, 2049, ("none", "image"))  # type: ignore[list-item]
    sums.check_room()
    room = SimpleNamespace(free=4 * 2 * 2 * len(CLASSES) * 2049 - 1)
    monkeypatch.setattr(making.shutil, "disk_usage", lambda path: room)
    with pytest.raises(UserError, match="must fit the disk"):
        sums.check_room()


@pytest.mark.slow
def test_two_processes_share_blocks_and_parts(own: Path, tmp_path: Path) -> None:
    order = order_of(own, how="pooled")
    (tmp_path / "order.json").write_text(order.model_dump_json())
    processes = []
    for index in range(2):
        with (tmp_path / "order.json").open() as stdin:
            words = [sys.executable, "-m", WORKER, str(index), "2"]
            processes.append(warm.Popen(words, stdin=stdin, stdout=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    made = [[json.loads(line)["made"] for line in text.splitlines()] for text in said]
    assert sum(each[-1] for each in made if each) == 28 and not order.missing


def test_as_many_work_as_there_are_blocks_of_pictures_though_one_part_is_missing(own: Path, monkeypatch) -> None:
    monkeypatch.setattr(making, "BLOCK_PICTURES", 8)
    monkeypatch.setattr(probe_making, "BLOCK_PICTURES", 8)
    order, each = order_of(own, EVERY[:6], "pooled"), order_of(own, EVERY[:6])
    assert (shares_of(order), shares_of(each), pictures_summed(order)) == (3, 1, (0, 24))
    counts: list[int] = []

    def together(module: str, text: str, words: object, count: int, made: object, **more: object) -> None:
        counts.append(count)
        for index in reversed(range(count)):  # those that find nothing left end
            work(ProbeOrder.model_validate_json(text), index, count, nobody_told)

    with monkeypatch.context() as patch:
        patch.setattr(probe_making, "work_together", together)
        for most in (2, 9):
            make_probes([order], ClusterProfile(kind="local"), print, silent, concurrent=most)
            assert not order.missing and shares_of(order) == 0
            next(iter(order.parts)).unlink()
    assert counts == [2, 1] and pictures_summed(order) == (24, 24), "sums that are there give nobody work"
    next(order.sums.glob("*.json")).write_text("{")
    assert pictures_summed(order) == (16, 24) and shares_of(order) == 1
    for path in order.sums.iterdir():
        path.unlink()

    def array(profile: object, where: object, task: str, words: object, count: int, **more: object) -> None:
        counts.append(count)

    monkeypatch.setattr(probe_making, "run_array", array)
    make_probes([order], ClusterProfile(kind="slurm", array_limit=40), print, silent)
    make_probes([order], ClusterProfile(kind="slurm", array_limit=2), print, silent)
    assert counts[2:] == [3, 2]


def test_orders_of_both_ways_are_two_pieces_of_work_with_the_same_parts(tmp_path: Path) -> None:
    each, pooled = order_of(tmp_path), order_of(tmp_path, how="pooled")
    assert each.digest != pooled.digest and each.parts == pooled.parts
    assert ProbeOrder.model_validate_json(pooled.model_dump_json()).how == "pooled"


@pytest.mark.parametrize("ties", [False, True])
def test_torch_proposes_as_well_as_faiss_does(ties: bool) -> None:
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((300, 16)).astype(np.float32)
    if ties:
        gallery = gallery[rng.integers(0, 40, 300)]
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    query = gallery[:50] + 0.01 * rng.standard_normal((50, 16)).astype(np.float32)
    asked, near = retrieve(query, gallery, 20), neighbours_on(torch.device("cpu"))
    for size in (2**12, 2**28):
        assert np.array_equal(retrieve(query, gallery, 20, block_bytes=size, neighbours=near), asked)


def test_distances_of_a_few_queries_are_there_at_once_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, near = np.random.default_rng(0), neighbours_on(torch.device("cpu"))
    query, block = (rng.standard_normal((count, 5)).astype(np.float32) for count in (23, 40))
    seen, multiply = list[int](), torch.addmm

    def watched(*given: torch.Tensor, **more: float) -> torch.Tensor:
        seen.append(len(found := multiply(*given, **more)))
        return found

    monkeypatch.setattr(torch, "addmm", watched)
    monkeypatch.setattr("vprdist.probes.pooled.ASKED_AT_ONCE", 10)
    apart, places = near(query, block, 4)
    assert seen == [10, 10, 3]
    wanted = ((query[:, None] - block[None]) ** 2).sum(axis=2)
    assert np.array_equal(np.sort(places, axis=1), np.sort(wanted.argsort(axis=1)[:, :4], axis=1))
    assert np.allclose(apart, np.take_along_axis(wanted, places, axis=1), atol=1e-5)


def test_a_broken_report_of_sums_is_named_itself(own: Path) -> None:
    order = order_of(own, EVERY[:2], how="pooled")
    work(order, 0, 1, nobody_told)
    (path,) = order.sums.glob("*.json")
    path.write_text('{"probes": [')
    with pytest.raises(UserError, match=f"Delete it: {path}") as caught:
        reports(order)
    assert ".parquet" not in str(caught.value)
    path.unlink()
    assert [len(each.probes) for each in reports(order)] == [2], "the sums stay, and so do the probes"


def test_attention_that_sees_features_alone_is_pooled_as_under_each_mask(own: Path) -> None:
    trial = TrialFolder(own).trial()
    attended = trial.network.model_copy(update={"attention": AttentionName.of("spatial", at=["layer2"])})
    trial = trial.model_copy(update={"network": attended})
    check_pooled(trial)
    network = build_network(trial, None)
    torch.nn.init.normal_(network.attention["layer2"].mix.weight)
    set_mode(network, trial.train.batch_norm, training=False)
    reader, side = PlaceReader(trial, trial.train.image_size), read_city(Path(trial.data.root), "bob").query
    wanted = [(side, np.arange(5))]
    sums = Sums(own / "sums", wanted, reader.classes, width_of(network, reader.image_size), ("none", "random"))
    make_sums(sums, network, reader, 0, turn=0, device="a core", check=lambda: None)
    arms = [Arm(("building",)), Arm(("building", "pole"), "random"), Arm(("sky", "road"))]
    passed = describe_arms(network, reader, wanted, arms, CPU)
    assert passed is not None
    for asked, got in zip(passed, Pooled(network, sums, 0).descriptors(arms), strict=True):
        assert np.abs(asked.values_ND - got.values_ND).max() < 1e-6


def test_whitening_is_learnt_under_each_arm(own: Path) -> None:
    trial = TrialFolder(own).trial()
    network = trained_network(trial, own)
    whitened = trial.evaluate.model_copy(update={"whitening": "database", "dimensions": (4,)})
    trial = trial.model_copy(update={"evaluate": whitened})
    cities = [read_city(Path(trial.data.root), "bob")]
    tasks, extra = build_tasks(cities, trial), Extra(breakdown_tasks(cities, trial))
    arms = [Arm(classes_of(PLAYERS, subset, TABLE), kind) for subset, kind in EVERY[5:7]]
    asked = evaluate_arms(network, trial, tasks, arms, CPU, extra=extra)
    order = order_of(own, EVERY[5:7], "pooled")
    retrieved = pooled(
        order, network, trial, Asked(tasks, extra.subtasks), None, turn=0, device="a core", check=lambda: None
    )  # fmt: skip
    assert asked is not None
    for evaluation, found in zip(asked, retrieved(arms), strict=True):
        assert found.keys() == evaluation.subtasks.keys()
        for name, ranking in found.items():
            assert ranking.metrics == pytest.approx(evaluation.subtasks[name].metrics, abs=0.02)
