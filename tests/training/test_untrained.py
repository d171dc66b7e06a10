"""Values of the untrained network: measured once by trials that begin as the same network, and by nobody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.making import make_cache, make_trial, run_here
from tests.worlds import write_small_tree
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.untrained import state_digest


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    root = write_small_tree(folder / "tree")
    make_cache(root, folder)
    return folder


def trial_of(world: Path, mode: str = "rgb", **train: Any) -> TrialSpec:
    return make_trial(world / "tree", world / "cache" if mode != "rgb" else None, mode, **{"steps": 1, **train})


def changed(trial: TrialSpec, part: str, **values: Any) -> TrialSpec:
    """The trial with other values in one part of it."""
    told = trial.model_dump(mode="json", by_alias=True)
    (told if part == "trial" else told[part]).update(values)
    return TrialSpec.model_validate_json(json.dumps(told))


def ran(trial: TrialSpec, runs: Path) -> tuple[dict[str, float], bool]:
    """What the trial says of the untrained network, and whether another trial measured it."""
    place = TrialFolder.of(runs, trial.trial_id)
    place.write_trial(trial)
    row = run_here(trial, place.path)
    (said,) = [each for each in place.rows()[0] if each["kind"] == "untrained"]
    assert row.untrained == {name: value for name, value in said.items() if "@" in name}
    return row.untrained, bool(said.get("kept"))


def kept(runs: Path) -> list[Path]:
    return sorted((runs / "data" / "untrained").glob("*"))


SAME = {
    "layers": ("network", {"unfreeze": "0-2"}),
    "learning rate": ("train", {"lr": 0.5}),
    "batches": ("train", {"batch_pairs": 2, "micro_pairs": 2}),
    "loss": ("train", {"loss": {"name": "gcl", "margin": 0.3}}),
    "steps": ("train", {"steps": 2}),
}
OTHER = {
    "seed": ("trial", {"seed": 1}),
    "size": ("train", {"image_size": (40, 48)}),
    "radius": ("data", {"positive_radius_m": 12.0}),
    "pooling": ("network", {"aggregator": {"name": "gem", "p": 1.0}}),
    "mode": None,
}


def test_trials_that_begin_as_one_network_measure_it_once(world: Path, tmp_path: Path) -> None:
    first, was_kept = ran(trial_of(world), tmp_path)
    assert not was_kept and len(kept(tmp_path)) == 1
    for name, (part, values) in SAME.items():
        trial = changed(trial_of(world), part, **values)
        assert ran(trial, tmp_path) == (first, True), name
        alone, was_kept = ran(trial, tmp_path / "alone" / part / name)
        assert (alone, was_kept) == (first, False), f"{name}: it would have measured the same, to the bit"
    assert len(kept(tmp_path)) == 1


@pytest.mark.parametrize("name", OTHER)
def test_what_begins_or_is_asked_otherwise_is_measured(world: Path, tmp_path: Path, name: str) -> None:
    ran(trial_of(world), tmp_path)
    other = (
        trial_of(world, "masked") if OTHER[name] is None else changed(trial_of(world), OTHER[name][0], **OTHER[name][1])
    )
    _, was_kept = ran(other, tmp_path)
    assert not was_kept and len(kept(tmp_path)) == 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"values": {}}', '{"values": {"recall@1": null}}', '{"values": 3}']
)
def test_a_file_that_says_nothing_is_measured_again_and_replaced(world: Path, tmp_path: Path, text: str) -> None:
    first, _ = ran(trial_of(world), tmp_path)
    (file,) = kept(tmp_path)
    whole = json.loads(file.read_text())["values"]
    file.write_text(text)
    assert ran(trial_of(world, lr=0.5), tmp_path) == (first, False)
    assert json.loads(file.read_text())["values"] == whole == first


def test_where_nothing_can_be_kept_each_measures(world: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "untrained").write_text("in the way")
    first, _ = ran(trial_of(world), tmp_path)
    assert ran(trial_of(world, lr=0.5), tmp_path) == (first, False)


def test_other_code_measures_anew(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(trial_of(world), tmp_path)
    monkeypatch.setattr("vprdist.training.untrained.running_source", lambda: None)
    assert not ran(trial_of(world, lr=0.5), tmp_path)[1] and len(kept(tmp_path)) == 1, "unknown code is any code"


def test_a_states_digest_is_of_every_value_name_type_and_shape() -> None:
    state = {"a": torch.arange(6.0), "b": torch.tensor(3)}
    digest = state_digest(state)
    assert digest == state_digest(dict(reversed(state.items())))
    for other in (
        {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)},
        {"a": torch.arange(6.0).to(torch.int32), "b": torch.tensor(3)},
        {"a": torch.arange(6.0), "c": torch.tensor(3)},
        {"a": torch.arange(6.0), "b": torch.tensor(4)},
        {"a": torch.arange(6.0)},
        {"a": torch.nextafter(torch.arange(6.0), torch.tensor(9.0)), "b": torch.tensor(3)},
    ):
        assert state_digest(other) != digest
    strided = torch.arange(12.0).view(6, 2)[:, 0]
    assert state_digest({"a": strided}) == state_digest({"a": strided.clone()})
