"""The fault drill: misfortunes on a real SLURM, and what they cost. Needs root and Debian's packages of SLURM.

    python -m tests.drills                                   every kind once, about 15 minutes
    python -m tests.drills --only driver-killed job-killed   some kinds
    python -m tests.drills --times 3 --trials 6              each three times
    python -m tests.drills --list                            what there is

Each fault has a run folder of its own, and trials whose result tells whether a step was lost or made twice. A driver
that ends is started again, as a person would. The table counts; what is wrong is said below it, with its folder.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.drills.faults import FAULTS, Fault, small_disk
from tests.drills.stage import Count, Stage, Stuck, count
from tests.slurm.devclusters import DevCluster, NoSlurm, devcluster

OPTIONS = ("--nodes=2", "--gpus=0", "--cpus=16", "--grace=4")
ACCOUNTING = (*OPTIONS, "--accounting", "--min-job-age=2")


def play(fault: Fault, cluster: DevCluster, base: Path, trials: int) -> tuple[Count, Stage]:
    """One fault on one run folder."""
    base.mkdir(parents=True, exist_ok=True)
    stage, began = Stage(cluster, base / "runs", count=trials), time.monotonic()
    trouble = []
    try:
        stage.start()
        fault.strike(stage)
        stage.finish()
    except Stuck as error:
        trouble.append(str(error))
    finally:
        if not stage.ended() and stage.driver is not None:
            stage.driver.kill()
        cluster.up()
    found = count(stage)
    found.seconds = time.monotonic() - began
    found.wrong += trouble
    return found, stage


def table(rows: Sequence[tuple[Fault, Count, Stage]]) -> Table:
    """A line a fault."""
    columns = ("what", "fault", "trials", "results", "lost", "doubled", "changed", "given up", "jobs", "left at once",
               "starts", "attempts", "drivers ended with", "s")  # fmt: skip
    shown = Table(*columns, title="One row a fault: what it cost")
    for fault, found, stage in rows:
        numbers = (found.trials, found.results, found.lost, found.doubled, found.changed, found.failed, found.jobs,
                   found.unwanted, found.starts, found.attempts)  # fmt: skip
        exits = " ".join(map(str, stage.exits))
        shown.add_row(fault.part, fault.text, *map(str, numbers), exits, f"{found.seconds:.0f}",
                      style=None if found.good else "red")  # fmt: skip
    return shown


@contextlib.contextmanager
def clusters(wanted: Sequence[Fault], disk: Path) -> Iterator[dict[bool, DevCluster]]:
    """Those that the faults need, and the disk that can be filled: nodes see no file system mounted after them."""
    with small_disk(disk, 8 << 20), contextlib.ExitStack() as stack:
        kinds = {each.accounting for each in wanted}
        yield {kind: stack.enter_context(devcluster(*(ACCOUNTING if kind else OPTIONS))) for kind in kinds}


def main(words: Sequence[str] | None = None) -> int:
    """0 when nothing was lost, doubled, changed or given up."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.drills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=sorted(FAULTS), metavar="FAULT", help="these kinds; see --list")
    parser.add_argument("--times", type=int, default=1, help="how often each (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=4, help="of each run folder (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="the kinds of faults")
    args = parser.parse_args(words)
    if args.list:
        for each in FAULTS.values():
            print(f"{each.name:45s} {each.text}")
        return 0
    console, base = Console(width=None if sys.stdout.isatty() else 200), Path(tempfile.mkdtemp(prefix="vprdist-drill-"))
    rows = []
    wanted = [FAULTS[name] for name in args.only or FAULTS for _ in range(args.times)]
    try:
        with clusters(wanted, base / "disk") as at:
            for number, each in enumerate(wanted, 1):
                place = (base / "disk" if each.small_disk else base) / f"{number:03d}-{each.name}"
                found, stage = play(each, at[each.accounting], place, args.trials)
                if each.small_disk and not found.good:
                    shutil.copytree(place, base / place.name)
                rows.append((each, found, stage))
                word = "good" if found.good else "WRONG"
                console.print(f"[{number}/{len(wanted)}] {each.name}: {word}, {found.seconds:.0f} s", markup=False)
    except NoSlurm as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(table(rows))
    total = sum(found.trials for _, found, _ in rows), sum(found.results for _, found, _ in rows)
    console.print(f"{len(rows)} faults, {total[0]} trials, {total[1]} results.")
    wrong = [(each, found) for each, found, _ in rows if not found.good]
    for each, found in wrong:
        for line in found.wrong:
            console.print(f"{each.name}: {line}", markup=False)
    if wrong:
        console.print(f"Run folders and drivers' logs: {base}", markup=False)
    else:
        shutil.rmtree(base)
    return int(bool(wrong))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # daemons and disks are put away then too
    sys.exit(main())
