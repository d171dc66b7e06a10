"""`vprdist export`: a trial's network as a checkpoint of the public GCL code."""

from __future__ import annotations

import argparse
from pathlib import Path

from vprdist.cli.options import add_runs
from vprdist.cli.words import about
from vprdist.console import Commands, Console, add_command
from vprdist.errors import WeightsError
from vprdist.spec.doors import GEMS, BackboneName
from vprdist.spec.trial import TrialSpec
from vprdist.status.find import find_trial
from vprdist.store.trial_folder import TrialFolder


def add_commands(commands: Commands) -> None:
    """Add it to the command line."""
    text = about("export")
    export = add_command(commands, "export", _export, text, "table1/'rgb 0-2' rgb.pth")
    export.add_argument("trial", help="an id, its beginning, or SWEEP/row name")
    export.add_argument("file", type=Path, help="the checkpoint to write (.pth)")
    add_runs(export)


def _export(args: argparse.Namespace, console: Console) -> int:
    folder = find_trial(args.runs.resolve(), args.trial)
    trial = folder.trial()
    step, dimensions = export(folder, trial, args.file)
    from vprdist.network.gcl_release import PUBLIC_NAMES

    height, width = trial.train.image_size
    theirs = PUBLIC_NAMES[trial.network.backbone.name]
    lines = [
        f"{args.file}: {trial.network.backbone.title} with GeM after {step} of {trial.train.steps} steps",
        "with the public GCL code:",
        f"    python3 extract_predictions.py --dataset MSLS --root_dir MSLS/ --subset val --model_file {args.file} "
        f"--backbone {theirs} --pool GeM --f_length {dimensions} --image_size {height},{width}",
        f"with vprdist:            trial.network.weights={args.file.resolve()}",
    ]
    if trial.input.mode != "rgb":
        lines.append(f"It was trained on {trial.input.mode} pictures; the public code shows it whole ones.")
    for line in lines:
        console.print(line, soft_wrap=True)
    return 0


def export(folder: TrialFolder, trial: TrialSpec, file: Path) -> tuple[int, int]:
    """Publish the network of the trial's last checkpoint in the release's form, as a new file.

    Returns:
        The step of the checkpoint, and the dimensions of its descriptors.

    Raises:
        WeightsError: the form cannot express this network, the trial has no checkpoint, or the file is there.
    """
    from vprdist.network.gcl_release import PUBLIC_NAMES, to_release
    from vprdist.tensors import save_tensors
    from vprdist.training.trained import last_network

    backbone, mode = trial.network.backbone, trial.input.mode
    is_usual = backbone.name in PUBLIC_NAMES and backbone == BackboneName.of(backbone.name)
    if not is_usual:
        fault = f"the backbone must be one that the public GCL code builds, {', '.join(PUBLIC_NAMES)}"
        found = backbone.as_written() if backbone.name in PUBLIC_NAMES else backbone.title
        raise WeightsError(folder.trial_file, fault, found, "Export a trial of one of these backbones.")
    for choice, names in ((trial.network.aggregator, GEMS), (trial.network.attention, ("none",))):
        if choice.name not in names:
            fault = f"the public GCL code needs a network with GeM and without attention, not {choice.title}"
            raise WeightsError(folder.trial_file, fault, None, "Export a trial of such a network.")
    if trial.input.learns_mask:
        fault = f"the public GCL code cannot learn a mask, and this network has one: {trial.input.learnt.title}"
        raise WeightsError(folder.trial_file, fault, None, "Export a trial without input.learnt.")
    if trial.input.num_added:
        fault = "the public GCL code needs three channels (input.mode rgb or masked)"
        raise WeightsError(folder.trial_file, fault, mode, "Export a trial of one of these modes.")
    if file.exists():
        raise WeightsError(file, "the file exists already", None, "Name another, or remove it.")
    network, step = last_network(trial, folder.path)
    save_tensors(file, to_release(network.state_dict(), step))
    return step, network.dimensions
