"""Only what no leaderboard needs goes, and nothing of what may still run."""

from __future__ import annotations

import os
from pathlib import Path

from toy import toy_result, toy_trials

from tests.status.test_arrays import probed_sweep
from tests.status.toys import list_sweep, toy_folders
from vprdist.cli import main
from vprdist.files import locked, write_json, write_text
from vprdist.status.prune import find_waste, remove
from vprdist.store.journal import Failure
from vprdist.store.trial_folder import TrialFolder

LEFT_BY_A_TRIAL = (
    "trial.json", "job.json", "metrics.jsonl", "checkpoint/state.pt", "predictions/sheet.png",
    "predictions/dogwood.txt", "log/starts.jsonl", "log/rendezvous-7", "log/attempt-1-aaaaaaaa/1_0_log.out",
    "log/attempt-2-bbbbbbbb/2_0_log.out",
)  # fmt: skip
GOES = ("checkpoint/state.pt", "log/rendezvous-7", "log/attempt-1-aaaaaaaa/1_0_log.out")


def fill(folder: TrialFolder, *without: str) -> None:
    for name in LEFT_BY_A_TRIAL:
        if name not in without:
            write_text(folder.path / name, "x" * 100)
    for age, attempt in ((200, "attempt-1-aaaaaaaa"), (100, "attempt-2-bbbbbbbb")):
        if (folder.log / attempt).exists():
            os.utime(folder.log / attempt, (1e9 - age, 1e9 - age))


def finish(folder: TrialFolder, seed: int) -> None:
    write_json(folder.result_file, toy_result(toy_trials(seed + 1)[seed]).model_dump(mode="json", by_alias=True))


def files(folder: TrialFolder) -> set[str]:
    every = {str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if path.is_file()}
    return {name for name in every if not name.endswith("lock")}


def prune(runs: Path, *words: str) -> int:
    return main(["prune", *words, "--runs", str(runs)])


def test_done_trials_keep_their_result_and_their_newest_log(tmp_path, capsys):
    list_sweep(tmp_path, "s", [0])
    (folder,) = toy_folders(tmp_path, 1)
    fill(folder)
    finish(folder, 0)
    assert main(["leaderboard", "s", "--runs", str(tmp_path)]) == 0
    before = (tmp_path / "sweeps" / "s" / "leaderboard.csv").read_bytes()
    capsys.readouterr()
    assert prune(tmp_path, "--yes") == 0
    assert "3 files removed" in capsys.readouterr().out
    assert files(folder) == (set(LEFT_BY_A_TRIAL) | {"result.json"}) - set(GOES)
    assert main(["leaderboard", "s", "--runs", str(tmp_path)]) == 0
    assert (tmp_path / "sweeps" / "s" / "leaderboard.csv").read_bytes() == before
    assert prune(tmp_path, "--yes") == 0
    assert "Nothing to remove" in capsys.readouterr().out


def test_a_network_keeps_its_checkpoint_until_its_probes_are_made(tmp_path):
    runs, orders = probed_sweep(tmp_path)
    networks = [TrialFolder(Path(order.trial)) for order in orders]
    for network in networks:
        write_text(network.path / "checkpoint" / "last.pt", "x")
    assert find_waste(runs, None, orphans=False) == []
    for path in orders[0].parts:
        write_text(path, "made")
    assert [waste.trial for waste in find_waste(runs, None, orphans=False)] == [networks[0].trial_id]
    (runs / "sweeps" / "tiny" / "sweep.yaml").write_text("{")
    assert find_waste(runs, None, orphans=False) == [], "nobody knows which probes are to be made"


def test_what_runs_waits_or_failed_is_left_alone(tmp_path):
    folders = toy_folders(tmp_path, 5)
    list_sweep(tmp_path, "s", range(5))
    for folder in folders:
        fill(folder, "job.json")
    running, watched, queued, failed, submitting = folders
    for seed, folder in enumerate((running, watched)):  # even with a result: its rank may still write
        finish(folder, seed)
    write_text(queued.job_file, "{}")
    failed.write_failure(Failure(reason="died", attempts=3))
    with locked(running.running_lock), locked(watched.driver_lock), locked(submitting.submit_lock):
        assert find_waste(tmp_path, None, orphans=True) == []
    gone = {waste.trial for waste in find_waste(tmp_path, None, orphans=False)}
    assert gone == {running.trial_id, watched.trial_id}, "a failed trial's checkpoint is what its retry resumes from"


def test_orphans_go_only_on_request_and_only_when_no_sweep_lists_them(tmp_path):
    one, two, three = toy_folders(tmp_path, 3)
    list_sweep(tmp_path, "a", [0])
    list_sweep(tmp_path, "b", [1])
    for seed, folder in enumerate((one, two, three)):
        fill(folder)
        finish(folder, seed)
    assert {each.what for each in find_waste(tmp_path, None, orphans=False)} == {
        "checkpoint", "earlier log", "rendezvous",
    }  # fmt: skip
    assert [each.path for each in find_waste(tmp_path, None, orphans=True) if each.what == "of no sweep"] == [
        three.path
    ]
    assert prune(tmp_path, "a", "--yes") == 0
    assert "checkpoint/state.pt" not in files(one)
    assert "checkpoint/state.pt" in files(two), "only the sweep that was named"
    assert prune(tmp_path, "--orphans", "--yes") == 0
    assert not three.path.exists()
    assert (two.path / "result.json").exists()


def test_a_manifest_that_cannot_be_read_stops_the_removal_of_orphans(tmp_path, capsys):
    (folder,) = toy_folders(tmp_path, 1)
    fill(folder)
    finish(folder, 0)
    list_sweep(tmp_path, "s", [])
    (tmp_path / "sweeps" / "s" / "manifest.json").write_text("{")
    assert prune(tmp_path, "--orphans", "--yes") == 2
    assert "a manifest must be readable" in capsys.readouterr().err
    assert folder.path.exists()


def test_a_trial_that_somebody_took_between_looking_and_removing_is_left(tmp_path):
    list_sweep(tmp_path, "s", [0])
    (folder,) = toy_folders(tmp_path, 1)
    fill(folder)
    finish(folder, 0)
    waste = find_waste(tmp_path, None, orphans=False)
    with locked(folder.driver_lock):
        assert remove(tmp_path, waste) == (0, 0)
    assert set(LEFT_BY_A_TRIAL) <= files(folder)
    assert remove(tmp_path, waste) == (3, 300)


def test_nothing_goes_without_a_yes(tmp_path, capsys, monkeypatch):
    list_sweep(tmp_path, "s", [0])
    (folder,) = toy_folders(tmp_path, 1)
    fill(folder)
    finish(folder, 0)
    before = files(folder)
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115, PTH123
    assert prune(tmp_path) == 2
    assert "Add --yes" in capsys.readouterr().err
    assert files(folder) == before
