"""What `plan` says of the networks of a sweep: each different one once, counted; measured where it is asked for."""

from __future__ import annotations

import io
import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.plan.test_plan import SWEEP
from vprdist.cli import main
from vprdist.console import Console
from vprdist.plan import networks
from vprdist.plan.networks import Networks, _key, _short, network_costs, show_networks
from vprdist.spec.sweep_file import read_sweep


@pytest.fixture
def sweep_file(small_tree: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SWEEP.format(root=small_tree) + "seeds: [0, 1]\n")
    return path


def test_plan_counts_each_network_once_and_measures_where_it_is_asked(
    sweep_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(sweep_file), "--runs", str(tmp_path / "runs"), "--measure"]) == 0
    said = capsys.readouterr()
    table = said.out[said.out.index("\nnetworks\n") :].replace("│", " ")
    rows = re.findall(r"resnet18 .*32x40 +11\.18 M +(\S+ M) +(\S+ M) +([\d.]+)", table)
    assert len(rows) == 3, "one for each choice of layers, whatever the seeds"
    assert len({trained for trained, _, _ in rows}) == 3 and len({products for _, products, _ in rows}) == 1
    assert all(float(pace) > 0 for *_, pace in rows) and "reading them takes its own time" in table
    assert not (tmp_path / "runs").exists()


def test_what_was_not_measured_has_no_column_and_a_refusal_is_a_row(sweep_file: Path) -> None:
    trials = read_sweep(sweep_file).trials
    cost = {"parameters": 1234, "trained": 999, "multiply_adds": None, "queries_per_s": None, "device": None}
    refused = {"refused": {"where": "net.py", "rule": "no such file", "value": None, "remedy": "Write it."}}
    console = Console(file=io.StringIO(), width=100)
    show_networks(Networks(trials[:2], (cost, refused)), console)
    text = console.file.getvalue().replace("│", " ")  # type: ignore[attr-defined]
    assert re.search(r"1\.234 k +999 +\?", text) and "pairs/s" not in text
    assert re.search(
        r"WARNING: nothing is known of resnet18.*: net.py: no such file. Write it.", " ".join(text.split())
    )


def test_a_process_that_dies_costs_its_numbers_alone(sweep_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "MEASURER", "vprdist.no_such_module")
    found = network_costs(read_sweep(sweep_file).trials, False, lambda title: nullcontext(lambda done, total: None))
    assert len(found.costs) == 3
    assert all("died" in str(cost["refused"]["rule"]) for cost in found.costs)


def test_what_changes_no_number_makes_no_row(sweep_file: Path) -> None:
    first, second = read_sweep(sweep_file, ["seeds=[0, 1]"]).trials[:2]
    assert _key(first, True) == _key(second, True)
    other = first.model_copy(update={"train": first.train.model_copy(update={"precision": "bf16"})})
    assert _key(first, False) == _key(other, False) and _key(first, True) != _key(other, True)


@pytest.mark.parametrize(
    ("count", "words"), [(None, "?"), (7, "7"), (1500, "1.5 k"), (23_508_032, "23.51 M"), (25.3e9, "25.3 G")]
)
def test_numbers_are_short(count: int | None, words: str) -> None:
    assert _short(count) == words
