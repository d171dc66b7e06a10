"""All benchmarks in one table: our figures beside those of their peers and limits, with the machine and its load.

    python -m tests.benchmarks                              each in a short form; below ten minutes on two cores
    python -m tests.benchmarks --full                       as the READMEs' figures were made: hours
    python -m tests.benchmarks --only retrieval positives --json table.json
    python -m tests.benchmarks --list

Each is a process of its own (`registry.py` has its command line), one after the other. What is missing here, real data,
an optional package, SLURM or a GPU, is said in its row. A benchmark that fails is a row as well, and makes the exit
code 1; an aim that is not met does not, since another machine, or a busy one, has other figures. Short forms see that
a benchmark works, and what changed by much; figures to write down are those of --full on a machine of one's own.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from rich.table import Table

from tests.benchmarks.registry import BENCHMARKS, REPO, Benchmark, missing
from tests.benchmarks.told import ROWS, Row, read_rows
from vprdist.console import Console, Parser, bar, duration, fitted_table, guarded, number_text, without_colours
from vprdist.errors import UserError, nearest
from vprdist.files import write_json

HEADS = ("benchmark", "what", "ours", "unit", "peer or limit", "theirs", "ours / theirs", "aim", "met")


@dataclass
class Run:
    """What came of one benchmark: its rows, or why there are none."""

    name: str
    rows: list[Row] = field(default_factory=list)
    note: str = ""
    failed: bool = False
    seconds: float = 0.0


def main(words: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m tests.benchmarks", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--full", action="store_true", help="the long forms")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some benchmarks")
    parser.add_argument("--list", action="store_true", help="name them, how they are called, and what is missing here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there as well")
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data", help="the folder of real data")
    parser.add_argument("--limit", type=float, metavar="S", help="a benchmark that takes longer failed (short: 400)")
    parser.add_argument("--total", type=float, metavar="S", help="none begins later, or goes on for longer")
    args = parser.parse_args(words)
    return guarded(lambda console: show_list(args, console) if args.list else run_all(chosen(args.only), args, console))


def chosen(names: Sequence[str] | None) -> list[Benchmark]:
    """Those named, in the order of the registry.

    Raises:
        UserError: there is none of a name.
    """
    known = [each.name for each in BENCHMARKS]
    for name in names or ():
        if name not in known:
            raise UserError("--only", "there is no such benchmark", name, nearest(name, known))
    return [each for each in BENCHMARKS if names is None or each.name in names]


def show_list(args: argparse.Namespace, console: Console) -> int:
    lines = []
    for each in chosen(args.only):
        left_out = each.why_not if not args.full else ""
        lines.append((each.name, each.full if args.full else each.short, missing(each, args.data) or left_out))
    console.print(fitted_table(console, ("benchmark", "arguments", "left out"), lines, words=(1, 2)))
    return 0


def run_all(wanted: Sequence[Benchmark], args: argparse.Namespace, console: Console) -> int:
    """Run, show, and write; the exit code is 1 where a benchmark failed.

    Args:
        args: `full`, `data`, `limit`, `total` and `json` of the command line.
    """
    runs = list[Run]()
    facts = {"machine": machine(), "full": args.full, "load_before": list(os.getloadavg())}
    begin = time.monotonic()
    limit_s = args.limit or (float("inf") if args.full else 400.0)
    total_s = args.total or float("inf")
    with bar(console, "benchmarks") as advance:
        advance(0, len(wanted))
        for each in wanted:
            left_s = total_s - (time.monotonic() - begin)
            if left_s > 0:
                runs.append(run(each, args.full, args.data.resolve(), min(limit_s, left_s)))
            else:
                runs.append(Run(each.name, note="skipped: no time was left (--total)"))
            advance(len(runs), len(wanted))
    facts |= {"load_after": list(os.getloadavg()), "seconds": round(time.monotonic() - begin, 1)}
    console.print(table(console, runs))
    console.print("\n".join(f"{name}: {value}" for name, value in machine_words(facts)))
    if args.json:
        write_json(args.json, {**facts, "benchmarks": [as_json(each) for each in runs]})
    failed = [each.name for each in runs if each.failed]
    if failed:
        console.print(f"Failed: {', '.join(failed)}.")
    return 1 if failed else 0


def run(benchmark: Benchmark, full: bool, data: Path, limit_s: float) -> Run:
    """One benchmark in a process group of its own, which is ended with it."""
    if why := missing(benchmark, data) or ("" if full else benchmark.why_not):
        return Run(benchmark.name, note=f"skipped: {why}" + (" (--full)" if why == benchmark.why_not else ""))
    with tempfile.TemporaryDirectory(prefix="vprdist-benchmark-") as folder:
        work, rows, log = Path(folder) / "work", Path(folder) / "rows.jsonl", Path(folder) / "log"
        work.mkdir()
        arguments = (benchmark.full if full else benchmark.short).format(data=data, work=work)
        command = [sys.executable, str(REPO / "tests" / "benchmarks" / f"{benchmark.name}.py"), *shlex.split(arguments)]
        paths = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
        begin = time.monotonic()
        with log.open("w") as stream:
            process = subprocess.Popen(
                command, cwd=REPO, env={**os.environ, ROWS: str(rows), "PYTHONPATH": paths}, stdin=subprocess.DEVNULL,
                stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(None if limit_s == float("inf") else limit_s)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        found = Run(benchmark.name, read_rows(rows), seconds=time.monotonic() - begin)
        if code != 0 or not found.rows:
            said = without_colours(log.read_text(errors="replace")).split("\n")
            last = next((line.strip() for line in reversed(said) if line.strip()), "it said nothing")
            how = f"longer than {limit_s:.3g} s" if code is None else f"exit code {code}" if code else "it told no row"
            found.failed, found.note = True, f"failed: {how}: {last[:200]}"
        return found


def table(console: Console, runs: Sequence[Run]) -> Table:
    lines = []
    for each in runs:
        for row in each.rows:
            met = {None: "", True: "yes", False: "no"}[row.met]
            lines.append((each.name, row.what, number_text(row.ours), row.unit, row.peer,
                          "" if row.theirs is None else number_text(row.theirs),
                          "" if row.ratio is None else f"{row.ratio:.3g}", row.aim, met))  # fmt: skip
        if each.note:
            lines.append((each.name, each.note, *[""] * (len(HEADS) - 2)))
    return fitted_table(console, HEADS, lines, words=(1, 4))


def machine() -> dict[str, object]:
    """What figures depend on."""
    names = (line.split(":")[1].strip() for line in _text("/proc/cpuinfo").split("\n") if line.startswith("model name"))
    total = next((line.split()[1] for line in _text("/proc/meminfo").split("\n") if line.startswith("MemTotal")), "0")
    return {
        "cpu": next(names, platform.processor() or platform.machine()), "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(total) / 2**20, 1), "gpu": gpu(), "python": platform.python_version(),
        "torch": version("torch"), "numpy": version("numpy"), "system": platform.platform(),
    }  # fmt: skip


def gpu() -> str:
    """The GPUs' names, without loading torch."""
    try:
        words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return ", ".join(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\n")[:-1])
    except (OSError, subprocess.CalledProcessError):
        return "none"


def machine_words(facts: dict) -> list[tuple[str, str]]:
    made, load = facts["machine"], (facts["load_before"], facts["load_after"])
    before, after = (" ".join(f"{each:.2f}" for each in of) for of in load)
    return [
        ("machine", f"{made['cpu']}, {made['cores']} cores, {made['memory_gb']:g} GB; GPU: {made['gpu']}"),
        ("software", f"Python {made['python']}, torch {made['torch']}, numpy {made['numpy']}, {made['system']}"),
        ("load (1, 5, 15 min)", f"before {before}; after {after}"),
        ("took", duration(facts["seconds"])),
    ]


def as_json(each: Run) -> dict[str, object]:
    rows = [{**asdict(row), "ratio": row.ratio, "met": row.met} for row in each.rows]
    # JSON has no word for a figure that is not finite.
    rows = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in rows]
    return {"name": each.name, "seconds": round(each.seconds, 1), "note": each.note, "rows": rows}


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
