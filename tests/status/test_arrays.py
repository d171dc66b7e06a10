"""What a driver makes beside trials: seen by status, waited for by those who watch, named for who cancels."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.probing import SWEEP
from tests.report.making import result
from vprdist.cli import main
from vprdist.console import Console
from vprdist.files import append_json_line, write_json, write_text
from vprdist.launch.queue_rows import QueueRow
from vprdist.probes.make import array_of, order_of
from vprdist.probes.order import ProbeOrder
from vprdist.report.board_page import page_path
from vprdist.report.publish import watch
from vprdist.search.subset_rule import network_point
from vprdist.spec.sweep_file import read_sweep
from vprdist.status.arrays import Probing, read_array, to_json, words
from vprdist.status.facts import Queue
from vprdist.store.attribution_file import attribution_path
from vprdist.store.driving import check_wanted, driving, is_driven
from vprdist.store.manifest import Manifest
from vprdist.store.trial_folder import TrialFolder

NAMES = ("one", "two")
IN_FEATURES = "mode: masked, mask_at: features"


def probed_sweep(folder: Path) -> tuple[Path, list[ProbeOrder]]:
    """Two networks that are said to be trained, with 28 probes each; a run folder, and the orders."""
    text = SWEEP.format(root="/data", cache="/cache", finalists=0, seeds=[0, 1])
    (folder / "tiny.yaml").write_text(text)
    sweep, runs = read_sweep(folder / "tiny.yaml"), folder / "runs"
    book, orders = Manifest(runs / "sweeps" / "tiny", sweep, ()), []
    book.write()
    rows = [{"trial": name, "name": "network", "seed": seed} for seed, name in enumerate(NAMES)]
    manifest = json.loads((book.folder / "manifest.json").read_text())
    write_json(book.folder / "manifest.json", {**manifest, "trials": rows})
    for seed, name in enumerate(NAMES):
        network = TrialFolder.of(runs, name)
        write_json(network.result_file, {"metrics": {"recall@1": 0.5}})
        row = {"kind": "proposed", "trial": name, "point": network_point(sweep, {}, seed)}
        append_json_line(book.folder / "proposals.jsonl", row)
        orders.append(order_of(sweep, {}, network))
    return runs, orders


def status(runs: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    capsys.readouterr()
    assert main(["status", "tiny", "--runs", str(runs), *more]) == 0
    return " ".join(capsys.readouterr().out.split())


def make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_status_counts_the_probes_of_every_network(tmp_path, capsys):
    runs, orders = probed_sweep(tmp_path)
    assert "probes: 0 of 56 made (2 networks) " in status(runs, capsys)
    (first, second), (third, _) = orders[0].parts, orders[1].parts
    make(first), make(second), make(third)
    assert "probes: 44 of 56 made (2 networks) " in status(runs, capsys)
    found = json.loads(status(runs, capsys, "--json"))["probes"]
    assert found == {"made": 44, "total": 56, "networks": 2, "arrays": []}
    TrialFolder.of(runs, "two").result_file.unlink()
    assert "probes: 28 of 28 made (1 network) " in status(runs, capsys)
    TrialFolder.of(runs, "one").result_file.unlink()
    assert "probes" not in status(runs, capsys)
    assert json.loads(status(runs, capsys, "--json"))["probes"] is None


def test_a_leaderboard_says_that_probes_are_missing(tmp_path, capsys):
    runs, orders = probed_sweep(tmp_path)
    row = result(0.5)
    folder = runs / "sweeps" / "tiny"
    manifest = json.loads((folder / "manifest.json").read_text())
    more = {"trial": row.trial_id, "name": "row", "seed": 0}
    write_json(folder / "manifest.json", {**manifest, "trials": [*manifest["trials"], more]})
    write_text(TrialFolder.of(runs, row.trial_id).result_file, row.model_dump_json(by_alias=True))
    make(next(iter(orders[0].parts)))
    line = "probes: 16 of 56 made; what each class adds comes when all are"

    def said() -> list[bool]:
        capsys.readouterr()
        assert main(["leaderboard", "tiny", "--runs", str(runs)]) == 0
        files = [(folder / f"leaderboard.{kind}").read_text() for kind in ("md", "html")]
        return [text.count(line) == 1 for text in (capsys.readouterr().out, *files)]

    assert said() == [True, True, True]
    for order in orders:
        for part in order.missing:
            make(part)
    assert said() == [False, False, False]


def test_points_of_a_grid_that_are_one_trial_are_one_network(tmp_path, capsys):
    """At the features a mask fills nothing: two fills are one network, and its probes are made once."""
    text = SWEEP.format(root="/data", cache="/cache", finalists=0, seeds=[0])
    grid = "search:\n  grid: {input.mask_fill: [black, mean]}\n"
    (folder := tmp_path / "runs" / "sweeps" / "tiny").mkdir(parents=True)
    (tmp_path / "tiny.yaml").write_text(text.replace("search:\n", grid).replace("mode: masked", IN_FEATURES))
    sweep = read_sweep(tmp_path / "tiny.yaml")
    Manifest(folder, sweep, ()).write()
    manifest = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", {**manifest, "trials": [{"trial": "one", "name": "network", "seed": 0}]})
    write_json(TrialFolder.of(tmp_path / "runs", "one").result_file, {"metrics": {"recall@1": 0.5}})
    for setting in sweep.settings:
        row = {"kind": "proposed", "trial": "one", "point": network_point(sweep, setting, 0)}
        append_json_line(folder / "proposals.jsonl", row)
    assert "probes: 0 of 28 made (1 network) " in status(tmp_path / "runs", capsys)


def test_sums_that_probes_are_pooled_from_are_counted_while_they_are_made():
    probing = Probing(0, 28, 1, (), attributed=False, pictures=(512, 19611))
    assert words(probing, ()) == "probes: 0 of 28 made (1 network); sums of classes: 512 of 19,611 pictures"
    assert to_json(probing, ())["pictures"] == 19611


def test_a_sweep_file_that_cannot_be_read_costs_the_probes_and_no_more(tmp_path, capsys):
    runs, _ = probed_sweep(tmp_path)
    write_text(runs / "sweeps" / "tiny" / "sweep.yaml", "naem: tiny\n")
    text = status(runs, capsys)
    assert "2 done" in text and "Probes are not shown: " in text and "naem" in text


class Slept(Exception):
    """Somebody who watches is not done."""


def test_who_watches_stays_while_a_driver_lives_and_leaves_with_it(tmp_path, capsys):
    runs, orders = probed_sweep(tmp_path)
    folder, said = runs / "sweeps" / "tiny", io.StringIO()

    def sleep(seconds: float) -> None:
        raise Slept

    def watched() -> str:
        said.seek(said.truncate(0))
        assert watch(folder, runs, Console(file=said, width=500), 7, sleep) == 0
        assert 'data-refresh="0"' in page_path(folder).read_text()
        return said.getvalue()

    again = "No driver watches this sweep: the same command again makes probes and finalists."
    with driving(folder), driving(folder) as mine:
        assert mine and is_driven(folder), "two may drive, as ever"
        with pytest.raises(Slept):
            watch(folder, runs, Console(file=said), 7, sleep)
        text = status(runs, capsys)
        assert "Leaderboard" not in text and "No driver" not in text
        assert main(["status", "--runs", str(runs)]) == 0 and "watches" in capsys.readouterr().out
    assert "gone before probes and finalists were made" in watched()
    text = status(runs, capsys, "--watch")
    assert "Leaderboard" in text and again in text
    for order in orders:
        for path in order.parts:
            make(path)
    write_text(attribution_path(folder), "{}")
    assert "every trial is over" in watched()
    assert again not in status(runs, capsys)


def test_cancelling_tells_a_driver_that_probes_on_this_machine(tmp_path, capsys):
    runs, _ = probed_sweep(tmp_path)
    folder = runs / "sweeps" / "tiny"
    assert main(["cancel", "tiny", "--yes", "--runs", str(runs)]) == 0
    assert "every one of these trials is over" in capsys.readouterr().out
    check_wanted(folder)
    with driving(folder):
        assert main(["cancel", "tiny", "network", "--yes", "--runs", str(runs)]) == 2, "a name of two trials"
        assert main(["cancel", "tiny", "one", "--yes", "--runs", str(runs)]) == 0
        check_wanted(folder)
        assert main(["cancel", "tiny", "--yes", "--runs", str(runs)]) == 0
        assert "The same command again does." in capsys.readouterr().out
        with pytest.raises(Exception, match="cancelled by "):
            check_wanted(folder)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("7_[2-3%2]", "PENDING", "Resources")], "queued (waiting for free nodes)"),
        (
            [("7_[2-3]", "PENDING", "Resources"), ("7_0", "RUNNING", "None"), ("7_1", "RUNNING", "None")],
            "2 task(s) run",
        ),
        ([("7_0", "COMPLETING", "None")], "completing"),
        ([("7_0", "CANCELLED", "None")], "not in the queue"),
        ([], "not in the queue"),
    ],
)
def test_an_array_is_one_thing_in_the_queue_though_its_tasks_are_rows(tmp_path, rows, said):
    array = array_of(probed_sweep(tmp_path)[1][0])
    queue = Queue({array.job: [QueueRow(job, array.job, state, why, "", array.token) for job, state, why in rows]})
    found = read_array(array, queue)
    assert str(found).startswith(f"array {array.job}: {said}")
    assert found.job_id == (None if "not in" in said else "7")
    assert read_array(array, Queue(None, silent=True)).state == "unknown"
