"""`vprdist track`."""

from __future__ import annotations

import argparse
from pathlib import Path

from vprdist.cli.options import add_runs
from vprdist.cli.words import about
from vprdist.console import Commands, Console, add_command
from vprdist.errors import LaunchError, nearest


def add_commands(commands: Commands) -> None:
    """Add it to the command line."""
    text = about("track")
    track = add_command(commands, "track", _track, text, "table1 --tracker wandb")
    track.description = (
        "Send what a sweep has, and its trackers have not: metrics, configuration, results and the page. The same "
        "command again sends nothing twice. Where there is no network trackers write files: WANDB_MODE=offline, and "
        "no MLFLOW_TRACKING_URI."
    )
    track.add_argument("sweep", help="its name; it may have run without `track`")
    track.add_argument(
        "--tracker", nargs="+", metavar="TRACKER",
        help="wandb, mlflow, tensorboard, trackio, or path/file.py:Name (default: the sweep's own)",
    )  # fmt: skip
    add_runs(track)


def _track(args: argparse.Namespace, console: Console) -> int:
    from pydantic import ValidationError

    from vprdist.prepare.trackers import check_trackers
    from vprdist.spec.doors import TrackerName
    from vprdist.spec.findings import finding_of
    from vprdist.spec.own_code import settled
    from vprdist.spec.sweep_file import read_sweep
    from vprdist.status.find import find_sweep
    from vprdist.store.manifest import sweep_file
    from vprdist.trackers.beside import send

    runs = args.runs.resolve()
    sweep = find_sweep(runs, args.sweep)
    path = sweep_file(sweep.folder)
    own = read_sweep(path).track
    by_word = {word: choice for choice in own for word in (choice.name, choice.title)}
    try:
        words = dict.fromkeys(args.tracker or ())
        every = [by_word.get(word) or TrackerName.of(settled(word, Path.cwd())) for word in words] or own
    except ValidationError as error:
        rule = finding_of(error, TrackerName).as_rule()
        raise LaunchError("--tracker", rule.fault, rule.value, rule.remedy) from None
    if not every:
        valid = nearest("", TrackerName.door.built_in)
        raise LaunchError(f"sweep {sweep.name}", "it names no tracker", None, f"Name one by --tracker. {valid}")
    check_trackers(every, "--tracker" if args.tracker else f"{path}: track")
    return send(runs, sweep.name, every, console)
