"""What was computed before stays found: ids and results of f8a1861, and what another computation changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vprdist.files import read_json
from vprdist.source import Source
from vprdist.spec.computation import COMPUTATION, FIRST
from vprdist.spec.result import ResultRow
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.store.result_file import read_result

HERE = Path(__file__).parent
SWEEPS = HERE.parents[1] / "sweeps"
PINNED = read_json(HERE / "ids_of_f8a1861.json")
"""Made by the code of commit f8a1861 itself: trials as its jobs have them in trial.json, and the ids of its sweeps."""
OLD_RESULT = HERE / "result_of_f8a1861.json"
DIGESTS = Digests(dataset="d1", cache="c1", weights="w1")


def read(trial: dict[str, Any]) -> TrialSpec:
    return TrialSpec.model_validate_json(json.dumps(trial))


@pytest.mark.parametrize("pinned", PINNED["trials"], ids=lambda pinned: pinned["what"])
def test_a_trial_on_a_disk_keeps_its_id(pinned: dict[str, Any]) -> None:
    """A job compares it with its folder's name; a changed one would be refused, and computed again elsewhere."""
    trial = read(pinned["trial"])
    assert trial.trial_id == pinned["id"]
    assert read(trial.to_json()).trial_id == pinned["id"], "as this version writes it"


@pytest.mark.parametrize("name", sorted(PINNED["sweeps"]))
def test_the_sweeps_of_this_repository_ask_for_the_trials_that_they_always_did(name: str) -> None:
    def trial_id(trial: TrialSpec) -> str:
        cache = DIGESTS.cache if trial.input.needs_cache else None
        return trial.resolved(DIGESTS.model_copy(update={"cache": cache})).trial_id

    assert [trial_id(trial) for trial in read_sweep(SWEEPS / name).trials] == PINNED["sweeps"][name]


def of_computation(trial: TrialSpec, number: int) -> TrialSpec:
    assert trial.digests is not None
    return trial.model_copy(update={"digests": trial.digests.model_copy(update={"computation": number})})


def test_another_computation_is_another_trial_and_the_first_one_is_not_hashed() -> None:
    first = read(PINNED["trials"][0]["trial"])
    assert first.digests is not None and first.digests.computation == FIRST
    assert "computation" not in first.digests.hashed()
    second = of_computation(first, 2)
    ids = {first.trial_id, second.trial_id, of_computation(first, 3).trial_id}
    assert len(ids) == 3
    again = read(second.to_json())
    assert again.trial_id == second.trial_id, "whatever COMPUTATION the code that reads it has"


def test_a_result_of_before_is_read_and_names_no_source() -> None:
    row = read_result(OLD_RESULT)
    assert row.trial.trial_id == row.trial_id == "8f05ec76f31a6eb2"
    assert (row.source, row.protocol.computation) == (None, FIRST)
    old = read_json(OLD_RESULT)
    assert "source" not in old and "computation" not in old["protocol"], "it is as that version wrote it"


def test_protocols_of_the_first_computation_keep_their_mark_and_words_and_others_name_theirs() -> None:
    """Rows of other protocols are never ranked together: that holds for other computations too."""
    protocol = read_result(OLD_RESULT).protocol
    assert protocol.fingerprint == "58d3fd81", "as f8a1861 has it"
    other = protocol.model_copy(update={"computation": 2})
    assert other.fingerprint != protocol.fingerprint
    assert "computation" not in protocol.summary
    assert other.summary.endswith(", computation 2")


def test_a_result_keeps_its_source_on_the_disk(tmp_path: Path) -> None:
    source = Source(version="0.1.0", digest="ab" * 8, changed=True, files=("training/losses/gcl.py",), commit="c" * 40)
    path = tmp_path / "result.json"
    row = read_result(OLD_RESULT).model_copy(update={"source": source})
    path.write_text(row.model_dump_json(by_alias=True))
    assert read_result(path) == row
    assert ResultRow.model_validate_json(path.read_bytes()).source == source
    assert COMPUTATION >= FIRST
