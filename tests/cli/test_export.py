"""`vprdist export`, and sweeps that start from what it wrote: the same network, there and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vprdist.cli import main
from vprdist.data.layouts import dataset_digest
from vprdist.distributed.world import World
from vprdist.errors import UserError
from vprdist.files import digest_file
from vprdist.network.gcl_release import to_release
from vprdist.network.model import PlaceNetwork, build_network
from vprdist.spec.data import DataSpec
from vprdist.spec.input import InputSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.result import ResultRow
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.checkpoint import load_checkpoint
from vprdist.training.checks import initial_weights
from vprdist.training.run import run_trial

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 96), np.uint8))

FRESH = TrialSpec(network=NetworkSpec(backbone="resnet18", weights="none")).resolved(
    Digests(dataset="d", cache=None, weights="none")
)


def trial_of(root: Path, backbone: Any = "resnet18", mode: str = "rgb", **train: object) -> TrialSpec:
    recipe = {"image_size": (32, 40), "steps": 3, "batch_pairs": 4, "micro_pairs": 2, "lr": 0.5}
    trial = TrialSpec(
        data=DataSpec(root=str(root), train=("ada",), validate_cities=("bob",)),
        input=InputSpec(mode=mode),
        network=NetworkSpec(backbone=backbone, weights="none"),
        train=TrainSpec(**{**recipe, **train}),
    )
    digest = dataset_digest(DataSpec(root=str(root)), ("ada", "bob"))
    return trial.resolved(Digests(dataset=digest, cache=None if mode == "rgb" else "c", weights="none"))


def folder_of(trial: TrialSpec, runs: Path) -> TrialFolder:
    folder = TrialFolder.of(runs, trial.trial_id)
    folder.write_trial(trial)
    return folder


def trained(trial: TrialSpec, runs: Path) -> tuple[TrialFolder, PlaceNetwork]:
    """The folder of a trial that was run, and its network."""
    folder = folder_of(trial, runs)
    run_trial(trial, folder.path, World(num_threads=1))
    network = build_network(trial, None)
    state = load_checkpoint(folder.path / "checkpoint", trial.trial_id)
    assert state is not None
    network.load_state_dict(state["network"])
    return folder, network.eval()


def test_an_exported_network_is_the_trials_and_a_sweep_evaluates_it(
    small_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, file = tmp_path / "runs", tmp_path / "made" / "rgb.pth"
    trial = trial_of(small_tree)
    folder, network = trained(trial, runs)
    assert network.pool.p.item() != 3.0, "p was learnt, and must come along"
    assert main(["export", trial.trial_id[:8], str(file), "--runs", str(runs)]) == 0
    said = capsys.readouterr().out
    assert f"{file}: resnet18 with GeM after 3 of 3 steps" in said
    assert f"--model_file {file} --backbone resnet18 --pool GeM --f_length 512 --image_size 32,40" in said

    for path in (file, folder.path / "checkpoint" / "last.pt"):
        spec = NetworkSpec(backbone="resnet18", weights=str(path))
        again = build_network(trial.model_copy(update={"network": spec}), path).eval()
        assert torch.equal(again(IMAGES), network(IMAGES)), path

    sweep = tmp_path / "mine.yaml"
    data = {"root": str(small_tree), "train": ["ada"], "validate": ["bob"]}
    network_keys = {"backbone": "resnet18", "weights": str(file)}
    keys = {"data": data, "network": network_keys, "train": {"image_size": [32, 40], "steps": 0}}
    sweep.write_text(json.dumps({"trial": keys}))
    assert main(["sweep", str(sweep), "--runs", str(runs)]) == 0
    (entry,) = json.loads((runs / "sweeps" / "mine" / "manifest.json").read_text())["trials"]
    row = TrialFolder.of(runs, entry["trial"]).result()
    first = ResultRow.model_validate_json(folder.result_file.read_bytes())
    assert row.metrics == first.metrics and row.city_metrics == first.city_metrics
    assert row.trial.digests is not None and row.trial.digests.weights == digest_file(file, 16)
    assert not any("weights" in fallback for fallback in row.fallbacks)


@pytest.mark.parametrize(
    ("backbone", "mode", "words"),
    [
        (
            "efficientnet_lite0",
            "rgb",
            "that the public GCL code builds, resnet18, resnet34, resnet50, resnet152, resnext101_32x8d, vgg16, "
            "densenet121, densenet161; found 'efficientnet_lite0'",
        ),
        ("resnet101", "rgb", "found 'resnet101'"),
        ({"name": "resnet18", "end": "layer3"}, "rgb", "found {'name': 'resnet18', 'end': 'layer3'}"),
        ("resnet18", "rgb+mask", "needs three channels (input.mode rgb or masked); found 'rgb+mask'"),
        ("resnet18", "masked", "last.pt: the trial has no checkpoint. "),
    ],
)
def test_what_cannot_be_exported_is_said_and_nothing_is_written(
    small_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], backbone: Any, mode: str, words: str
) -> None:
    folder = folder_of(trial_of(small_tree, backbone, mode), tmp_path / "runs")
    file = tmp_path / "new" / "out.pth"
    assert main(["export", folder.trial_id, str(file), "--runs", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1
    assert not file.parent.exists()


def test_a_file_that_is_there_stays(small_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(trial_of(small_tree), tmp_path / "runs")
    file = tmp_path / "precious.pth"
    file.write_bytes(b"published")
    assert main(["export", folder.trial_id, str(file), "--runs", str(tmp_path / "runs")]) == 2
    assert "the file exists already" in capsys.readouterr().err
    assert file.read_bytes() == b"published"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sweep", "no such file of initial weights. Check the path of network.weights.\n"),
        (
            "plan",
            "that of efficientnet_lite0 with three input channels and GeM; found 'resnet18'. Set network.backbone",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_stops_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, words: str
) -> None:
    runs, path = tmp_path / "runs", tmp_path / "gcl.pth"
    if command == "plan":
        torch.save(to_release(build_network(FRESH, None).state_dict(), 1), path)
    assert main([command, "sweeps/table1.yaml", "--runs", str(runs), f"trial.network.weights={path}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: override 'trial.network.weights={path}': ") and f"{path}: " in told
    assert words in told and told.count("\n") == 1
    assert not list(runs.glob("*")), "not even the demo city"


def test_a_checkpoint_that_changed_since_is_refused_by_the_job(small_tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "gcl.pth"
    trial = trial_of(small_tree)
    trial = trial.model_copy(
        update={
            "network": NetworkSpec(backbone="resnet18", weights=str(path)),
            "digests": Digests(dataset="d", cache=None, weights="0" * 16),
        }
    )
    with pytest.raises(UserError, match="no such file of initial weights"):
        initial_weights(trial)
    path.write_bytes(b"other")
    with pytest.raises(UserError, match="the initial weights must have the digest 0000000000000000"):
        initial_weights(trial)
    shutil.copy(path, tmp_path / "moved.pth")
    held = trial.model_copy(update={"digests": Digests(dataset="d", cache=None, weights=digest_file(path, 16))})
    assert initial_weights(held) == (path, ())
