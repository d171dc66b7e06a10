"""`vprdist status` and `logs`: how a sweep is getting on, and what a job printed."""

from __future__ import annotations

import argparse
import sys

from vprdist.cli.options import add_every, add_runs
from vprdist.cli.words import about
from vprdist.console import Commands, Console, add_command, without_colours


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    status = add_command(commands, "status", _status, about("status"), "table1 --watch")
    status.add_argument("sweep", nargs="?", help="its name; without one, a line for each sweep")
    status.add_argument("--watch", action="store_true", help="go on until the sweep is over")
    add_every(status, 5.0)
    status.add_argument("--json", action="store_true", help="for other programs")
    logs = add_command(commands, "logs", _logs, about("logs"), "table1/'rgb 0-2' -f")
    logs.add_argument("trial", help="an id, its beginning, or SWEEP/row name")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the trial is over, across requeues")
    logs.add_argument("--rank", type=int, default=0, help="which rank's (default: %(default)s)")
    logs.add_argument("--all", action="store_true", help="every submission's, not the newest alone")
    for parser in (status, logs):
        add_runs(parser)


def _status(args: argparse.Namespace, console: Console) -> int:
    from vprdist.status.status import show_sweep, show_sweeps

    runs = args.runs.resolve()
    if args.sweep is None:
        return show_sweeps(runs, console)
    return show_sweep(runs, args.sweep, console, args.watch, args.every, args.json)


def _logs(args: argparse.Namespace, console: Console) -> int:
    from vprdist.status.find import find_trial
    from vprdist.status.logs import LogReader, follow

    folder = find_trial(args.runs.resolve(), args.trial)
    reader = LogReader(folder, args.rank, args.all)

    def write(text: str) -> None:
        sys.stdout.write(without_colours(text))
        sys.stdout.flush()

    if args.follow:
        try:
            follow(reader, write)
        except KeyboardInterrupt:
            return 130
        return 0
    printed = False
    for text in reader.rest():
        write(text)
        printed = True
    if not printed:
        write(f"Nothing was printed yet; {folder.log} holds what there is.\n")
    return 0
