"""Probes of a trained network: made once, whoever dies or comes second, and worth what the trial itself would be."""

from __future__ import annotations

import io
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch

from tests import warm
from tests.probing import EVERY, KINDS, PLAYERS, files, finished_trial, order_of, values
from tests.spec.test_sweep import sweep
from tests.training.making import CPU
from vprdist.data.layouts import city_digest_cached, open_layout
from vprdist.data.layouts.msls import read_city
from vprdist.data.pack.making import Wanted, make_pack
from vprdist.data.tasks import breakdown_tasks, build_tasks
from vprdist.errors import DataError, LaunchError, TrainingError, UserError, WeightsError
from vprdist.evaluation.evaluate import Extra, evaluate
from vprdist.probes import worker as probe_worker
from vprdist.probes.make import WORKER, make_probes, probes_of
from vprdist.probes.order import PROBE_COLUMNS, ProbeOrder
from vprdist.probes.read import finalists_of, queries_of, read_nearest, read_probes, reports, values_of
from vprdist.probes.worker import work
from vprdist.semantics.cache.format import read_manifest
from vprdist.spec.arms import classes_of
from vprdist.spec.class_table import table_of
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec
from vprdist.store.driving import cancel_rest, check_wanted, want_again
from vprdist.store.queries import read_answers, read_queries
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.trained import trained_network

HERE = ClusterProfile(kind="local")


def nobody_told(count: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial that is over; its probes are all made, in one go."""
    trial = finished_trial(tmp_path_factory.mktemp("finished"))
    threads = torch.get_num_threads()
    work(order_of(trial), 0, 1, nobody_told)
    torch.set_num_threads(threads)
    return trial


def test_parts_are_made_once_and_tell_what_they_took(own: Path) -> None:
    made: list[int] = []
    order = order_of(own)
    work(order, 0, 1, made.append)
    assert made == [16, 12]
    assert not order.missing and order.num_done == 28
    before = files(order)
    assert sorted(name.rpartition(".")[2] for name in before) == ["json", "json", "parquet", "parquet"], "no locks"
    work(order, 0, 1, made.append)
    assert made == [16, 12] and files(order) == before, "nothing is touched"
    first, second = reports(order)
    assert first.probes + second.probes == EVERY
    assert (first.num_pictures, first.threads) == (24, 1)
    assert first.seconds > 0 and first.device


def test_a_second_process_begins_elsewhere_and_leaves_what_another_holds(own: Path) -> None:
    order = order_of(own)
    (first, second), made = order.parts, []
    from vprdist.files import locked

    with locked(first.with_name(f".{first.stem}.lock")) as mine:
        assert mine
        work(order, 1, 2, made.append)
    assert made == [12] and order.missing == [first] and second.exists()
    work(order, 1, 2, made.append)
    assert made == [12, 16] and not order.missing


def test_a_longer_order_finds_the_full_parts_of_a_shorter_one(own: Path) -> None:
    short, long, made = order_of(own, EVERY[:18]), order_of(own), []
    work(short, 0, 1, made.append)
    before = files(short)
    work(long, 0, 1, made.append)
    assert made == [16, 2, 12]
    after = files(long)
    assert {name: after[name] for name in before} == before
    work(short, 0, 1, made.append)
    assert made == [16, 2, 12], "the shorter one is still there"


def test_packed_pictures_give_the_same_probes(finished: Path, own: Path, tmp_path: Path) -> None:
    trial = TrialFolder(own).trial()
    make_pack(Wanted(open_layout(Path(trial.data.root)), ("bob",), (32, 40), processes=1), tmp_path / "pack")
    data = trial.data.model_copy(update={"pack": str(tmp_path / "pack")})
    TrialFolder(own).write_trial(trial.model_copy(update={"data": data}))
    work(order_of(own), 0, 1, nobody_told)
    assert values(order_of(own)) == values(order_of(finished))


@pytest.mark.parametrize("probe", [(7, "none"), (2, "random"), (5, "image"), (3, "classes")])
def test_a_probe_is_worth_what_the_trial_is_under_that_arm_alone(finished: Path, tmp_path: Path, probe) -> None:
    order, trial = order_of(finished), TrialFolder(finished).trial()
    shown = trial.input.model_copy(
        update={"classes": classes_of(PLAYERS, probe[0], table_of("cityscapes")), "placebo": probe[1]}
    )
    alone = TrialSpec.model_validate(
        trial.model_copy(update={"input": shown, "train": trial.train.model_copy(update={"arms": None})})
    )
    torch.set_num_threads(1)
    cities = [read_city(Path(trial.data.root), "bob")]
    network = trained_network(trial, finished)
    evaluate(network, alone, build_tasks(cities, alone), CPU, extra=Extra(breakdown_tasks(cities, alone))).write(
        tmp_path
    )
    own, asked = read_queries(tmp_path / "queries.parquet"), queries_of(finished)
    for metric in ("recall@1", "recall@5", "map@20"):
        found = read_probes(order, metric, asked, "all")
        assert found.values_KQ.shape == (28, 8)
        assert found.of(probe).tolist() == own.only("all").metrics[metric].tolist(), metric
    nearest = read_nearest(order, [probe], asked, "all")
    keys = list(zip(asked.only("all").city, asked.only("all").query, strict=True))
    answers = read_answers(tmp_path / "queries.parquet", keys, "all")
    assert nearest == {probe: [answers[key]["retrieved"][0] for key in keys]}


def test_probes_differ_and_the_networks_own_result_is_that_of_everybody(finished: Path) -> None:
    found = values_of(order_of(finished), "map@20")
    assert found.of((7, "none")).mean() == pytest.approx(TrialFolder(finished).result().metrics["map@20"])
    assert len({row.tobytes() for row in found.values_KQ}) > 20


def rewritten(path: Path, change: Callable[[dict[str, list[object]]], dict[str, list[object]]]) -> None:
    table = parquet.read_table(path).to_pydict()
    parquet.write_table(pa.table(change(table)), path)


def test_values_follow_the_queries_whatever_order_a_part_has_them_in(finished: Path, own: Path) -> None:
    from shutil import copytree

    copytree(finished / "probes", own / "probes")
    order, asked = order_of(own), queries_of(own)
    before = read_probes(order, "map@20", asked, "all")
    (path, _) = order.parts
    shuffled = np.random.default_rng(1).permutation(len(parquet.read_table(path)))
    rewritten(path, lambda table: {name: [column[i] for i in shuffled] for name, column in table.items()})
    after = read_probes(order, "map@20", asked, "all")
    assert np.array_equal(before.values_KQ, after.values_KQ)
    assert len(np.unique(before.values_KQ, axis=1)[0]) > 1, "queries differ"
    assert before.queries.query.tolist() == sorted(before.queries.query.tolist())


def test_finalists_are_the_best_of_the_networks_mean_with_everybody_beside_them(
    finished: Path, own: Path, tmp_path: Path
) -> None:
    from shutil import copytree

    copytree(finished / "probes", own / "probes")
    rewritten(
        next(iter(order_of(own).parts)),
        lambda table: {**table, "recall@1": [[1.0 if at == 1 else 0.0 for at in range(16)] for _ in table["recall@1"]]},
    )
    groups = "groups: {a: [building, wall], b: [pole], c: [vegetation, terrain]}"
    text = f"trial: {{input: {{mode: masked}}}}\nsearch:\n  searcher: one_network\n  subsets:\n    {groups}\n"
    made = sweep(tmp_path, text + "    placebos: [random, image, classes]\n    finalists: 2\n")
    orders = [order_of(finished), order_of(own)]
    means = np.mean([values_of(order, "recall@1").values_KQ[:7].mean(axis=1) for order in orders], axis=0)
    best = sorted(range(1, 8), key=lambda subset: (-means[subset - 1], subset.bit_count(), subset))
    assert best[0] == 2, "the second network is sure of it"
    assert finalists_of(made, {}, orders) == [7, *[subset for subset in best if subset != 7][:2]]
    assert finalists_of(made, {}, []) == []
    none = made.search.subsets.model_copy(update={"finalists": 0})
    assert (
        finalists_of(made.model_copy(update={"search": made.search.model_copy(update={"subsets": none})}), {}, orders)
        == []
    )


@pytest.mark.parametrize(
    ("what", "rule"),
    [
        ("cut", "a part of probes must be readable"),
        ("no column", "a part of probes must be readable; found \"'recall@1'\""),
        ("of other queries", "a part must have every query of its trial, under each probe; found 8"),
        ("a query less", "a part must have every query of its trial, under each probe; found 7"),
        ("fewer probes", "a part must have every query of its trial, under each probe"),
    ],
)
def test_a_part_that_cannot_be_is_one_message_that_says_what_to_delete(
    finished: Path, own: Path, what: str, rule: str
) -> None:
    from shutil import copytree

    copytree(finished / "probes", own / "probes")
    order = order_of(own)
    (_, path), asked = order.parts, queries_of(own)
    change: dict[str, Callable[[dict[str, list[object]]], dict[str, list[object]]]] = {
        "no column": lambda table: {name: column for name, column in table.items() if name != "recall@1"},
        "of other queries": lambda table: {**table, "query": [f"x{key}" for key in table["query"]]},
        "a query less": lambda table: {name: column[1:] for name, column in table.items()},
        "fewer probes": lambda table: {**table, "recall@1": [each[1:] for each in table["recall@1"]]},
    }
    if what == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    else:
        rewritten(path, change[what])
    with pytest.raises(UserError) as caught:
        read_probes(order, "recall@1", asked, "all")
    assert rule in str(caught.value) and f"Delete it and run the sweep again: {path}" in str(caught.value)


@pytest.mark.parametrize("what", ["cut", "missing", "of other probes"])
def test_a_report_that_cannot_be_is_one_message(finished: Path, own: Path, what: str) -> None:
    from shutil import copytree

    copytree(finished / "probes", own / "probes")
    order = order_of(own)
    first, second = (path.with_suffix(".json") for path in order.parts)
    assert len(reports(order)) == 2
    if what == "cut":
        second.write_text(second.read_text()[:-9])
    elif what == "missing":
        second.unlink()
    else:
        second.write_bytes(first.read_bytes())
    with pytest.raises(UserError, match=r"the report of a part of probes (must be|is missing)") as caught:
        reports(order)
    assert str(second) in str(caught.value) and str(second.with_suffix(".parquet")) in str(caught.value)


@contextmanager
def changed(path: Path, data: bytes | None) -> Iterator[None]:
    """A file with other bytes, or without any; as before afterwards."""
    before = path.read_bytes()
    city_digest_cached.cache_clear()  # a process looks once
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)
        city_digest_cached.cache_clear()


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("a table", DataError, "the cities ada, bob must have the digest"),
        ("a picture that is cut", DataError, "the cities ada, bob must have the digest"),
        ("a picture of the same length", DataError, r"bob_q000\.jpg: the picture cannot be read"),
        ("no checkpoint", WeightsError, "the trial has no checkpoint. "),
        ("a cache that is cut", UserError, "the manifest must be readable JSON"),
        ("a shard of the same length", UserError, r"\.arrow: the shard's SHA-256 must be"),
        ("a network that diverged", TrainingError, "descriptors must be finite"),
    ],
)
def test_what_changed_is_one_message_and_leaves_no_part(
    own: Path, what: str, kind: type[UserError], message: str
) -> None:
    trial = TrialFolder(own).trial()
    side = Path(trial.data.root) / "train_val" / "bob" / "query"
    picture = side / "images" / "bob_q000.jpg"
    last, manifest = own / "checkpoint" / "last.pt", Path(trial.input.cache or "") / "manifest.json"
    shard = min((manifest.parent / "shards").iterdir())
    if what == "a network that diverged":
        state = torch.load(last, weights_only=False)
        lost = {name: value * float("nan") for name, value in state["network"].items() if value.is_floating_point()}
        state["network"] |= lost
        torch.save(state, last)
    path, data = {
        "a table": (side / "raw.csv", (side / "raw.csv").read_bytes().replace(b",90.0,", b",91.0,")),
        "a picture that is cut": (picture, picture.read_bytes()[:200]),
        "a picture of the same length": (picture, b"x" * picture.stat().st_size),
        "no checkpoint": (last, None),
        "a shard of the same length": (shard, shard.read_bytes()[:-999] + bytes(999)),
        "a cache that is cut": (manifest, manifest.read_bytes()[:-20]),
    }.get(what, (picture, picture.read_bytes()))
    order = order_of(own)
    with changed(path, data), pytest.raises(kind, match=message) as caught:
        work(order, 0, 1, nobody_told)
    assert "\n" not in str(caught.value)
    left = [path.name for path in order.folder.glob("*")] if order.folder.exists() else []
    assert all(name.startswith(".") and name.endswith(".lock") for name in left), "empty locks are all that may stay"
    assert len(order.missing) == 2


def test_a_cache_that_is_filled_anew_between_two_parts_ends_the_probes(own: Path) -> None:
    order, cache = order_of(own), Path(TrialFolder(own).trial().input.cache or "")
    held, file = read_manifest(cache), cache / "manifest.json"
    sides = tuple(side.model_copy(update={"content": "another"}) for side in held.sides)
    other = held.model_copy(update={"sides": sides})
    other = other.model_copy(update={"digest": other.digest_of(other.cities)})

    def replaced(made: int) -> None:
        file.write_text(other.model_dump_json())

    with changed(file, file.read_bytes()), pytest.raises(UserError, match="must have the digest of the submission"):
        work(order, 0, 1, replaced)
    assert len(order.missing) == 1


def test_a_mistake_is_said_to_the_driver(own: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (own / "checkpoint" / "last.pt").unlink()
    monkeypatch.setattr(sys, "stdin", io.StringIO(order_of(own).model_dump_json()))
    assert probe_worker.main(["0", "1"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert "the trial has no checkpoint" in str(UserError.from_json(said["error"]))


class Telling:
    """A bar and a line, as a driver has them."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.seen: list[tuple[int, int]] = []

    @contextmanager
    def bar(self, title: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: self.seen.append((done, total))


@pytest.mark.slow
def test_killed_in_the_middle_the_same_again_completes_to_the_same_bytes(finished: Path, own: Path) -> None:
    order = order_of(own)
    process = warm.Popen(
        [sys.executable, "-m", WORKER, "0", "1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(order.model_dump_json())
    deadline = time.monotonic() + 300
    while len(order.missing) == 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (left,) = order.missing
    before = files(order)
    telling = Telling()
    make_probes([order], HERE, telling.said.append, telling.bar, concurrent=1)
    assert values(order) == values(order_of(finished))
    after = files(order)
    kept = {name for name in before if left.stem not in name}
    assert kept and all(after[name] == before[name] for name in kept), "what was made is not made again"
    assert len([name for name in after if not name.startswith(".")]) == 4, "what a death leaves is hidden"
    assert "12 of 28 probes of 1 network(s)" in telling.said[0]
    assert telling.seen[-1] == (28, 28) and telling.seen == sorted(telling.seen)
    make_probes([order], HERE, telling.said.append, telling.bar)
    assert len(telling.said) == 1, "what is made starts nothing"


def test_cancelled_probes_end_the_processes_of_this_machine(own: Path, tmp_path: Path) -> None:
    sweep, telling = tmp_path / "mine", Telling()
    check_wanted(sweep)
    cancel_rest(sweep, "me")
    with pytest.raises(LaunchError, match=r"^sweep mine: .*'cancelled by me'.*same command again") as caught:
        make_probes([order_of(own)], HERE, telling.said.append, telling.bar, check=lambda: check_wanted(sweep))
    assert len(order_of(own).missing) == 2 and "\n" not in str(caught.value)
    want_again(sweep, asked_at=time.time() - 60)
    with pytest.raises(LaunchError, match="cancelled by me"):
        check_wanted(sweep)  # a detached driver that SLURM starts again undoes nothing
    want_again(sweep, asked_at=math.inf)
    want_again(sweep, asked_at=math.inf)
    check_wanted(sweep)


@pytest.mark.slow
def test_two_processes_share_the_parts_and_make_none_twice(finished: Path, own: Path, tmp_path: Path) -> None:
    order = order_of(own)
    (tmp_path / "order.json").write_text(order.model_dump_json())  # a pipe would hold the second until the first ends
    processes = []
    for index in range(2):
        with (tmp_path / "order.json").open() as stdin:
            words = [sys.executable, "-m", WORKER, str(index), "2"]
            processes.append(warm.Popen(words, stdin=stdin, stdout=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    made = [[json.loads(line)["made"] for line in text.splitlines()] for text in said]
    assert sum(each[-1] for each in made if each) == 28, made
    assert values(order) == values(order_of(finished))


def test_every_subset_is_probed_under_every_kind_and_nobody_once(tmp_path: Path) -> None:
    text = (
        "trial: {input: {mode: masked}}\n"
        "search: {searcher: one_network, subsets: {classes: [pole, sky, road], placebos: [image]}}\n"
    )
    masked = sweep(tmp_path, text)
    expected = [(subset, kind) for kind in ("none", "image") for subset in range(1, 8)]
    assert list(probes_of(masked, {})) == expected
    both = sweep(tmp_path, text, "trial.input.mode=rgb+mask")
    assert list(probes_of(both, {})) == [(0, "none"), *expected]
    assert probes_of(masked, {"input.mode": "rgb+mask"}) == probes_of(both, {})
    many = sweep(tmp_path, text, "search.subsets.classes=static", "search.subsets.probes=160", "search.seed=3")
    found = probes_of(many, {})
    real = [subset for subset, kind in found if kind == "none"]
    assert [subset for subset, kind in found if kind == "image"] == real and len(set(real)) == len(real) <= 160
    assert 1023 in real and len(real) > 120
    orders = [np.random.default_rng([3, row]).permutation(10) for row in range(160 // 19)]
    asked = {int(sum(1 << p for p in some)) for o in orders for k in range(1, 11) for some in (o[:k], o[::-1][:k])}
    assert set(real) == asked, "the subsets of eight orders and their reverses"


def test_columns_are_those_of_the_specification(finished: Path) -> None:
    (path, _) = order_of(finished).parts
    assert tuple(parquet.read_schema(path).names) == PROBE_COLUMNS
    assert replace(values_of(order_of(finished), "recall@1"), probes={}).values_KQ.dtype == np.float32
    assert KINDS[0] == "none"
    assert isinstance(order_of(finished), ProbeOrder)
