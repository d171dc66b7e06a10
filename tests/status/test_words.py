"""What a person reads of sweeps: whole ids and heads on 80 columns, names that `logs` takes, cities in the making."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from toy import toy_trials

from tests.status.toys import list_sweep, toy_folders
from vprdist.cli import main
from vprdist.console import Console, fitted_table
from vprdist.errors import LaunchError
from vprdist.files import read_json, write_json
from vprdist.spec.sweep_file import read_sweep
from vprdist.status.facts import Facts, Queue
from vprdist.status.find import find_sweep, find_trial
from vprdist.status.status import Seen, render
from vprdist.store.driving import Preparing, preparing
from vprdist.store.journal import Failure
from vprdist.store.manifest import Manifest


def with_seeds(runs: Path, name: str, trials: list[int]) -> None:
    """A sweep of one row and several seeds."""
    list_sweep(runs, name, trials)
    file = runs / "sweeps" / name / "manifest.json"
    manifest = read_json(file)
    for seed, entry in enumerate(manifest["trials"]):
        entry |= {"name": "rgb 0-2", "seed": seed}
    write_json(file, manifest)


def test_names_that_a_driver_prints_find_their_trials(tmp_path: Path) -> None:
    """The driver's names, and every other word for them."""
    with_seeds(tmp_path, "mine", [0, 1])
    folders = toy_folders(tmp_path, 3)
    (tmp_path / "mine.yaml").write_text("name: mine\nseeds: [0, 1]\n")
    book = Manifest(tmp_path / "sweeps" / "mine", read_sweep(tmp_path / "mine.yaml"), ())
    book.keep_known()
    assert list(book.shown.values()) == ["rgb 0-2 seed 0", "rgb 0-2 seed 1"]
    assert list(book.shown.values()) == list(find_sweep(tmp_path, "mine").names.values())
    assert list(book.names.values()) == ["rgb 0-2", "rgb 0-2"], "the manifest names rows"
    for seed, name in enumerate(book.shown.values()):
        for word in (name, f"mine/{name}"):
            assert find_trial(tmp_path, word).path == folders[seed].path
    with pytest.raises(LaunchError, match="several trials have that name: 'rgb 0-2'"):
        find_trial(tmp_path, "rgb 0-2")
    one = Manifest(tmp_path, read_sweep(tmp_path / "mine.yaml", ["seeds=[4]"]), ())
    one.add(toy_trials(1)[0])
    assert one.shown == one.names, "one seed is not told apart"


def test_a_row_name_alone_is_enough_where_one_trial_has_it(tmp_path: Path) -> None:
    list_sweep(tmp_path, "mine", [0])
    list_sweep(tmp_path, "same", [0])
    list_sweep(tmp_path, "other", [1])
    (tmp_path / "sweeps" / "other" / "manifest.json").write_text("{}")  # costs its own names alone
    (folder,) = toy_folders(tmp_path, 1)
    for word in ("toy 0", "toy 0 seed 0", "mine/toy 0 seed 0"):
        assert find_trial(tmp_path, word).path == folder.path
    folder.path.mkdir(parents=True)
    assert find_trial(tmp_path, f"vprdist-{folder.trial_id}").path == folder.path, "as SLURM calls its job"
    with pytest.raises(LaunchError, match="no such trial"):
        find_trial(tmp_path, "toy 1")


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(list(map(str, words))) == 0
    return capsys.readouterr().out


def test_a_sweep_in_preparation_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with preparing(tmp_path / "sweeps" / "mine", "recall@1") as tell:
        tell("rendering the demo city", 30, 100)
        said = shown(capsys, "status", "mine", "--runs", tmp_path)
        assert "rendering the demo city: 30/100; trials come after it" in said
        assert "makes: rendering the demo city" in " ".join(shown(capsys, "status", "--runs", tmp_path).split())
        answer = json.loads(shown(capsys, "status", "mine", "--json", "--runs", tmp_path))
        assert answer["preparing"]["what"] == "rendering the demo city" and answer["trials"] == []
        assert "submits none of them" in shown(capsys, "cancel", "mine", "--yes", "--runs", tmp_path)
    assert main(["status", "nosuch", "--runs", str(tmp_path)]) == 2


def test_one_that_was_killed_says_so_and_how_fast_one_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "sweeps" / "mine"
    write_json(folder / "preparing.json", killed := Preparing(
        what="segmenting pictures", done=30, total=100, first=10, began=0.0, objective="recall@1"
    ).model_dump())  # fmt: skip
    assert "segmenting pictures was not finished: its driver is gone." in shown(
        capsys, "status", "mine", "--runs", tmp_path
    )
    with preparing(folder, "recall@1") as tell:
        tell("segmenting pictures", 1, 2)
        write_json(folder / "preparing.json", killed)
        assert "segmenting pictures: 30/100, " in (said := shown(capsys, "status", "mine", "--runs", tmp_path))
        assert "/h, about " in said


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_ids_numbers_and_heads_are_whole_on_narrow_terminals(tmp_path: Path, width: int) -> None:
    list_sweep(tmp_path, "mine", [0])
    why = "its job ended without a result; the driver tries it again on another node, which takes a while"
    facts = [
        Facts("0123456789abcdef", "masked sum static_and_more 0-2 learned", "running", "evaluating", 12345, 20000,
              0.123, 7384.0, "gpu-node-0123", 1.5, 0.25, why),
        Facts("fedcba9876543210", "rgb", "queued", why="the partition is down"),
    ]  # fmt: skip
    console = Console(file=io.StringIO(), width=width)
    console.print(render(Seen(find_sweep(tmp_path, "mine"), facts, Queue(None), None, True), console))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    head = next(line for line in text.splitlines() if "trial" in line)
    assert "…" not in head and all(len(line) <= width for line in text.splitlines())
    assert {"trial", "name", "state"} <= {word.strip() for word in head.strip("┃").split("┃")}
    assert "01234567 " in text and "evaluating" in text
    assert ("recall@1" in head) == ("0.123" in text)
    assert width < 80 or {"recall@1", "left", "why"} <= {word.strip() for word in head.split("┃")}


def test_words_are_broken_and_spare_columns_left_out_before_anything_is_cut() -> None:
    lines = [("0123456789abcdef", "a name of many words that goes on", "12345/20000", "h" * 12)]
    for width in range(50, 120):
        console = Console(file=io.StringIO(), width=width)
        console.print(fitted_table(console, ("id", "name", "steps", "node"), lines, words=(1,), spare=(3,)))
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert "0123456789abcdef" in text and "12345/20000" in text and "…" not in text
        assert all(len(line) <= width for line in text.splitlines())
        assert ("node" in text) == ("h" * 12 in text)
    assert "node" in text, "a wide one has them all"


def test_failures_are_listed_whole_on_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    list_sweep(tmp_path, "mine", [0])
    (folder,) = toy_folders(tmp_path, 1)
    folder.write_failure(Failure(reason="the node's disk is full " * 6, attempts=2))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    text = re.sub(r"\x1b\[[\d;]*m", "", shown(capsys, "retry", "mine", "--list", "--runs", tmp_path))
    assert folder.trial_id in text and "…" not in text and max(map(len, text.splitlines())) <= 80
