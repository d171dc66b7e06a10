"""Learnt weights beside Shapley values of another sweep of the run folder: the right one, named, or how to get it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.attribution.test_side_by_side import Swept, random
from tests.report.making import leave
from vprdist.console import Console
from vprdist.files import write_text
from vprdist.report.attribution import write_attribution
from vprdist.report.board_page import page_path
from vprdist.report.learnt import FILE
from vprdist.report.publish import leaderboard
from vprdist.report.shapley import HOW, METHODS, class_values
from vprdist.report.wording import effect_text
from vprdist.spec.attribution import AttributionReport
from vprdist.spec.doors import MaskName
from vprdist.spec.network import NetworkSpec
from vprdist.spec.result import ResultRow
from vprdist.store.manifest import Manifest, sweep_folder
from vprdist.store.trial_folder import TrialFolder

WEIGHTS = {"building": 1.0, "pole": 0.2, "road": 0.4}


@pytest.fixture
def swept(small_tree: Path, tmp_path: Path) -> Swept:
    """A finished search of single classes in two forms, as a driver leaves it."""
    made = Swept(small_tree, tmp_path, ["search.grid={input.mask_fill: [black, blur]}", "name=subsets"])
    made.probe(random)
    book = Manifest(sweep_folder(tmp_path, "subsets"), made.sweep, ())
    for row in made.results.values():
        write_text(TrialFolder.of(tmp_path, row.trial_id).result_file, row.model_dump_json(by_alias=True))
        book.add(row.trial)
    book.write()
    return made


def learnt_of(row: ResultRow, fill: str = "black", **network: object) -> ResultRow:
    """The same trial with a mask that is learnt."""
    given = row.trial.input.model_copy(update={"learnt": MaskName.of("class_weights"), "mask_fill": fill})
    other = NetworkSpec.model_validate({**row.trial.network.model_dump(mode="json"), **network})
    train = row.trial.train.model_copy(update={"arms": None})
    trial = row.trial.model_copy(update={"input": given.resolved(), "network": other, "train": train})
    return row.model_copy(update={"trial": trial, "trial_id": trial.trial_id, "mask_weights": WEIGHTS})


def texts(runs: Path, row: ResultRow) -> tuple[str, str, str]:
    folder = leave(runs, [(row, None)], name="learnt")
    console = Console(file=io.StringIO(), width=200)
    assert leaderboard(folder, runs, console) == 0
    return (folder / FILE).read_text(), page_path(folder).read_text(), console.file.getvalue()  # type: ignore[attr-defined]


def told(report: AttributionReport, setting: int) -> dict[str, str]:
    return {each.player: effect_text(each.adds) for each in report.settings[setting].players}


@pytest.mark.parametrize(("fill", "form", "setting"), [("black", "black", 0), ("blur", "blur", 1)])
def test_values_are_those_of_the_same_data_and_network_in_the_form_of_the_mask(swept, tmp_path, fill, form, setting):
    report = swept.report()
    write_attribution(sweep_folder(tmp_path, "subsets"), report)
    assert report.settings[0].method in METHODS
    markdown, page, terminal = texts(tmp_path, learnt_of(next(iter(swept.results.values())), fill))
    values = told(report, setting)
    for name in ("building", "pole"):
        (line,) = (line for line in markdown.splitlines() if line.startswith(f"| {name} |"))
        assert line.endswith(f"| {values[name]} |") and values[name] in page
    assert "| road | 0.400 | – | – | – |" in markdown, "no player of that sweep"
    for text in (markdown, page, terminal):
        assert f"of sweep subsets, form {form}" in text and HOW not in text


def test_values_of_another_network_data_or_protocol_are_left_alone_and_the_table_says_how_to_get_them(swept, tmp_path):
    write_attribution(sweep_folder(tmp_path, "subsets"), swept.report())
    row = next(iter(swept.results.values()))
    city = row.protocol.model_copy(update={"dataset": "other"})
    other = learnt_of(row, backbone="resnet18", weights="none")
    for each in (other, learnt_of(row).model_copy(update={"protocol": city})):
        for text in texts(tmp_path, each):
            assert "search.subsets.classes=static in this run folder" in text and "of sweep subsets" not in text


def test_groups_and_sweeps_that_cannot_be_read_have_none(swept, tmp_path):
    report = swept.report()
    folder = sweep_folder(tmp_path, "subsets")
    players = [each.model_copy(update={"classes": ("pole", "sky")}) for each in report.settings[0].players]
    alone = report.model_copy(
        update={"settings": (report.settings[0].model_copy(update={"players": tuple(players)}),), "side_by_side": ()}
    )
    write_attribution(folder, alone)
    assert class_values(tmp_path) == []
    write_attribution(folder, report)
    assert len(class_values(tmp_path)) == 2
    (folder / "sweep.yaml").write_text("name: [")
    assert class_values(tmp_path) == []
