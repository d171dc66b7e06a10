"""`vprdist plan`: what a sweep would do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vprdist.cli.options import add_runs
from vprdist.cli.words import about
from vprdist.console import Console
from vprdist.errors import LaunchError

if TYPE_CHECKING:
    from vprdist.console import Commands

EXAMPLE = """example: vprdist plan sweeps/table1.yaml scale=paper cluster=example-gpu

         vprdist plan sweeps/table1.yaml --measure
         vprdist plan --check cluster=example-gpu

Nothing is written and nothing is submitted; what torch counts of built-in networks is kept in your own cache
(~/.cache/vprdist). Exit code 2: the sweep, or the profile, would be refused.
"""


def add_commands(commands: Commands) -> None:
    """Add `plan` to the command line."""
    text = about("plan")
    plan = commands.add_parser(
        "plan", help=text, description=text[0].upper() + text[1:] + ".", epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    plan.add_argument("file", type=Path, nargs="?", help="a sweep file; --check may do without")
    plan.add_argument("overrides", nargs="*", metavar="key=value", help="dotted keys of the sweep file")
    add_runs(plan)
    plan.add_argument("--full", action="store_true", help="show every trial")
    measure = "train each network of the sweep for some seconds here, and show how fast it is"
    plan.add_argument("--measure", action="store_true", help=measure)
    plan.add_argument("--check", action="store_true", help="check the profile alone against the cluster at hand")
    plan.set_defaults(work=_plan)


def _plan(args: argparse.Namespace, console: Console) -> int:
    return _check(args, console) if args.check else _show(args, console)


def _check(args: argparse.Namespace, console: Console) -> int:
    from vprdist.plan.profile import profile_findings
    from vprdist.prepare.checks import paths_of
    from vprdist.prepare.rights import check_rights, trust_note
    from vprdist.private import Guard
    from vprdist.spec.profile import read_profile
    from vprdist.spec.profile_choice import AUTO, choose_profile
    from vprdist.spec.sweep_file import read_sweep

    runs, words = args.runs.resolve(), [str(args.file), *args.overrides] if args.file else []
    if words and "=" not in words[0]:
        sweep = read_sweep(args.file, args.overrides)
        name, where, paths = sweep.cluster, sweep.where("cluster"), paths_of(sweep.trials, runs)
    else:
        sweep, name, where, paths = None, _profile_named(words), "cluster", [runs]
    why = ""
    if name == AUTO:
        name, why = choose_profile(where)
    if why:
        console.print(why)
    profile = read_profile(name, where)
    if note := trust_note(profile):
        console.print(note, style="yellow")
    if sweep is None:
        Guard(profile.trust, runs).check_way(runs)
    else:
        check_rights(sweep, runs, profile.trust)
    for line in profile_findings(name, profile, paths, runs):
        console.print(line, soft_wrap=True)
    console.print("Nothing was written or submitted.")
    return 0


def _profile_named(words: Sequence[str]) -> str:
    """The profile of `cluster=NAME`."""
    others = [word for word in words if not word.startswith("cluster=")]
    if others:
        raise LaunchError("plan --check", "this must be cluster=NAME", others[0], "Other keys need a sweep file.")
    return words[-1].partition("=")[2] if words else "local"


def _show(args: argparse.Namespace, console: Console) -> int:
    from vprdist.console import bar
    from vprdist.plan.networks import network_costs, show_networks
    from vprdist.plan.show import example_name, script_of, show_plan
    from vprdist.plan.survey import survey
    from vprdist.prepare.rights import trust_note
    from vprdist.spec.idle import idle_settings
    from vprdist.spec.profile import read_profile
    from vprdist.spec.profile_choice import settle_cluster
    from vprdist.spec.row_name import row_name
    from vprdist.spec.sweep import with_lines
    from vprdist.spec.sweep_file import read_sweep

    if args.file is None:
        raise LaunchError("plan", "a sweep file must be named", None, "Without one: vprdist plan --check cluster=NAME.")
    sweep, chosen = settle_cluster(read_sweep(args.file, args.overrides))
    if chosen:
        console.print(chosen)
    profile = read_profile(sweep.cluster, sweep.where("cluster"))
    for note in filter(None, (*idle_settings(sweep, profile), trust_note(profile))):
        console.print(note, style="yellow")
    with with_lines(sweep):
        plan = survey(sweep, profile, args.runs.resolve())
    players = None if sweep.search.subsets is None else sweep.search.subsets.players
    axes, telling = sweep.telling_axes, sweep.telling_parameters
    names = [row_name(planned.trial, axes, players, telling) or sweep.name for planned in plan.trials]
    show_plan(plan, names, console, args.full)
    if networks := [trial for trial in plan.looked.trials if trial.job is None]:
        show_networks(network_costs(networks, args.measure, partial(bar, console)), console)
    script = script_of(plan)
    if script is not None:
        console.print(f"\nthe sbatch script of {example_name(plan)}", style="bold")
        console.print(script, soft_wrap=True)
        import shutil

        from vprdist.launch.check import COMMANDS, check_cluster
        from vprdist.prepare.checks import paths_of

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
