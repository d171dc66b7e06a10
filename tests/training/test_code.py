"""Which code computed a trial: what its result says, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.making import make_trial, run_here
from tests.worlds import write_small_tree
from vprdist.data.images import load_image, load_image_at_a_scale
from vprdist.data.layouts.msls import read_city
from vprdist.errors import LaunchError
from vprdist.files import append_json_line, read_json, read_json_lines
from vprdist.network.inputs import KeptPictures, PlaceReader
from vprdist.probes.order import ProbeOrder
from vprdist.source import running_source
from vprdist.spec.computation import FIRST
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.run import run_trial, saved_by

PACKAGE = Path(__file__).resolve().parents[2] / "vprdist"
RUN = """
import sys
from pathlib import Path
from vprdist.spec.trial import TrialSpec
from vprdist.training.run import run_trial
folder = Path(sys.argv[1])
run_trial(TrialSpec.model_validate_json((folder / "trial.json").read_bytes()), folder)
"""


def run_by(package: Path, trial: TrialSpec, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a trial by another copy of the package, as a job does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trial.json").write_text(json.dumps(trial.to_json()))
    env = os.environ | {"PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", RUN, str(folder)]
    return subprocess.run(words, cwd="/", env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """A copy of the package whose loss somebody has changed."""
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "edited" / "vprdist", ignore=shutil.ignore_patterns("__pycache__")))
    loss = copy / "training" / "losses" / "gcl.py"
    loss.write_text(loss.read_text() + "# changed by hand\n")
    return copy


def test_a_result_names_its_code(small_tree: Path, tmp_path: Path, edited: Path) -> None:
    trial = make_trial(small_tree, steps=0)
    mine = run_here(trial, tmp_path / "runs" / "trials" / "a")
    assert mine.source == running_source() and mine.source is not None
    assert TrialFolder(tmp_path / "runs" / "trials" / "a").source() == mine.source
    done = run_by(edited, trial, tmp_path / "runs" / "trials" / "b")
    assert done.returncode == 0, done.stderr
    theirs = TrialFolder(tmp_path / "runs" / "trials" / "b").result()
    assert theirs.source is not None and theirs.source.digest != mine.source.digest
    assert (theirs.source.changed, theirs.source.commit) == (None, None), "the copy is no checkout"
    assert theirs.trial_id == mine.trial_id and theirs.metrics == mine.metrics


def test_a_job_of_another_computation_refuses_before_it_reads_anything(
    small_tree: Path, tmp_path: Path, edited: Path
) -> None:
    """The number is raised in a copy of the package, as a person raises it."""
    trial = make_trial(small_tree)
    number = edited / "spec" / "computation.py"
    number.write_text(number.read_text().replace("COMPUTATION = 2", "COMPUTATION = 3"))
    done = run_by(edited, trial, folder := tmp_path / "runs" / "trials" / trial.trial_id)
    assert done.returncode != 0
    assert (
        f"trial {trial.trial_id}: a trial of computation 2 cannot be computed by this code, which is of computation 3. "
        "Run the sweep again" in done.stderr.splitlines()[-1]
    )
    assert not (folder / "result.json").exists() and not (folder / "checkpoint").exists()


def test_probes_of_another_computation_are_refused_too(
    small_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vprdist.probes.worker import work

    trial = make_trial(small_tree)
    folder = TrialFolder(tmp_path / "trials" / trial.trial_id)
    folder.write_trial(trial)
    order = ProbeOrder.model_construct(trial=str(folder.path), threads=None)
    monkeypatch.setattr("vprdist.training.checks.COMPUTATION", 3)
    with pytest.raises(LaunchError, match="cannot be computed by this code"):
        work(order, 0, 1, lambda made: None)


def test_a_trial_of_a_later_computation_is_refused_by_older_code(small_tree: Path, tmp_path: Path) -> None:
    trial = make_trial(small_tree)
    assert trial.digests is not None
    later = trial.model_copy(update={"digests": trial.digests.model_copy(update={"computation": 7})})
    with pytest.raises(LaunchError, match=f"trial {later.trial_id}: a trial of computation 7"):
        run_trial(later, tmp_path / "runs" / "trials" / later.trial_id)


def test_a_trial_of_the_first_computation_goes_on_as_it_began_and_its_result_says_so(tmp_path: Path) -> None:
    """A job that was submitted before: its pictures, of more than twice the size, are decoded as then."""
    tree = write_small_tree(tmp_path / "tree", picture_size=(100, 80))
    now = make_trial(tree, steps=4)
    assert now.digests is not None
    then = now.model_copy(update={"digests": now.digests.model_copy(update={"computation": FIRST})})
    rows = {}
    for trial in (now, then):
        rows[trial.computation] = run_here(trial, tmp_path / "runs" / "trials" / trial.trial_id)
    assert {number: row.protocol.computation for number, row in rows.items()} == {1: 1, 2: 2}
    assert rows[1].trial_id != rows[2].trial_id and rows[1].protocol.fingerprint != rows[2].protocol.fingerprint
    side = read_city(tree, "bob").query
    for trial, load in ((now, load_image), (then, load_image_at_a_scale)):
        for reader in (
            PlaceReader(trial, (32, 40)), PlaceReader(trial, (32, 40), KeptPictures(trial, [side], (32, 40)))
        ):  # fmt: skip
            read = reader.read(side, 3)[0].permute(1, 2, 0).numpy()
            assert np.array_equal(read, load(side.image_path(3), 32, 40))
    assert rows[1].final_loss != rows[2].final_loss


def test_going_on_from_a_checkpoint_of_other_code_is_recorded(small_tree: Path, tmp_path: Path) -> None:
    trial = make_trial(small_tree, steps=4)
    whole = run_here(trial, tmp_path / "runs" / "trials" / "whole")
    assert not any("other code" in text for text in whole.fallbacks)
    folder = tmp_path / "runs" / "trials" / "half"
    run_here(trial, folder)
    (folder / "result.json").unlink()
    again = run_here(trial, folder)
    assert again.fallbacks == whole.fallbacks, "this code's own checkpoint"
    (folder / "result.json").unlink()
    rows = read_json_lines(folder / "metrics.jsonl")[0]
    (folder / "metrics.jsonl").unlink()
    for row in rows:  # as if other code had trained it
        append_json_line(folder / "metrics.jsonl", row | ({"source": "ab12" * 4} if row["kind"] == "source" else {}))
    again = run_here(trial, folder)
    assert again.source is not None
    assert again.fallbacks[0] == (
        f"went on from a checkpoint of other code (source ab12ab12; this is {again.source.short})"
    )
    assert read_json(folder / "result.json")["source"]["digest"] == again.source.digest


def test_who_saved_what_a_checkpoint_grew_from() -> None:
    def began(source: str, resumes: bool) -> dict[str, object]:
        return {"kind": "source", "source": source, "resumes": resumes}

    saved, trained = {"kind": "checkpoint", "step": 1}, {"kind": "train", "step": 1}
    assert saved_by([]) == []
    assert saved_by([saved, trained]) == [None], "a version that named no source"
    assert saved_by([began("a", False), trained, began("b", False), saved]) == ["b"], (
        "what a saved was gone, or nothing"
    )
    assert saved_by([began("a", False), saved, began("b", True), trained, began("c", True), saved]) == ["a", "c"]
    assert saved_by([saved, began("a", False), trained]) == [], "begun anew"
