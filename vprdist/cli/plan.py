"""`vprdist plan`: what a sweep would do."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vprdist.cli.options import add_runs
from vprdist.console import Console

if TYPE_CHECKING:
    from vprdist.console import Commands

EXAMPLE = """example: vprdist plan sweeps/table1.yaml scale=paper cluster=example-gpu

Nothing is written and nothing is submitted. Exit code 2: the sweep would be refused.
"""


def add_commands(commands: Commands) -> None:
    """Add `plan` to the command line."""
    text = "say what a sweep would submit, and what it would cost"
    plan = commands.add_parser(
        "plan", help=text, description=text[0].upper() + text[1:] + ".", epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    plan.add_argument("file", type=Path, help="a sweep file")
    plan.add_argument("overrides", nargs="*", metavar="key=value", help="dotted keys of the sweep file")
    add_runs(plan)
    plan.add_argument("--full", action="store_true", help="show every trial")
    plan.set_defaults(work=_plan)


def _plan(args: argparse.Namespace, console: Console) -> int:
    from vprdist.launch.check import COMMANDS, check_cluster
    from vprdist.plan.show import example_name, script_of, show_plan
    from vprdist.plan.survey import survey
    from vprdist.prepare.checks import paths_of
    from vprdist.spec.idle import idle_settings
    from vprdist.spec.profile import read_profile
    from vprdist.spec.row_name import row_name
    from vprdist.spec.sweep import with_lines
    from vprdist.spec.sweep_file import read_sweep

    sweep = read_sweep(args.file, args.overrides)
    profile = read_profile(sweep.cluster, sweep.where("cluster"))
    for note in idle_settings(sweep, profile):
        console.print(note, style="yellow")
    with with_lines(sweep):
        plan = survey(sweep, profile, args.runs.resolve())
    players = None if sweep.search.subsets is None else sweep.search.subsets.players
    names = [row_name(planned.trial, sweep.axes, players) or sweep.name for planned in plan.trials]
    show_plan(plan, names, console, args.full)
    script = script_of(plan)
    if script is not None:
        console.print(f"\nthe sbatch script of {example_name(plan)}", style="bold")
        console.print(script, soft_wrap=True)
        import shutil

        if shutil.which("sinfo") is None:
            console.print(f"not checked: there is no SLURM here ({', '.join(COMMANDS[:2])}, … not found)")
        else:
            for note in check_cluster(profile, paths_of([planned.trial for planned in plan.trials], plan.runs)):
                console.print(f"{'' if note.startswith('sbatch') else 'not checked: '}{note}")
    if plan.over_budget is not None:
        with with_lines(sweep):
            raise plan.over_budget
    console.print("\nNothing was written or submitted. To run it: the same words after `vprdist sweep`.")
    return 0
