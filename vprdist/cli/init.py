"""`vprdist init`: sweeps and profiles to start from."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from vprdist.cli.words import about
from vprdist.console import Commands, Console, add_command
from vprdist.errors import LaunchError
from vprdist.shipped import FOLDERS, shipped_files, shipped_root

NEXT = """Next:
  vprdist plan sweeps/table1.yaml                  what it would run and cost; starts nothing
  python -m vprdist.sweep sweeps/table1.yaml       run it on the built-in city, minutes on two cores
  vprdist keys                                     every key of a sweep file and of a profile
On a cluster: copy slurm/profiles/example-gpu.yaml to slurm/profiles/NAME.yaml, change the site's facts, then
  vprdist plan --check cluster=NAME                does the profile fit the cluster?"""


def add_commands(commands: Commands) -> None:
    """Add it to the command line."""
    init = add_command(commands, "init", _init, about("init"), "vpr")
    init.description = (
        "Write sweeps and profiles to start from: FOLDER/sweeps and FOLDER/slurm. What is there stays as it is; the "
        "same command again writes what is missing. A sweep or profile that you do not want to change need not be "
        "written: vprdist finds its own where the working folder has none."
    )
    init.add_argument("folder", type=Path, nargs="?", default=Path(), help="made where it is missing (default: here)")


def _init(args: argparse.Namespace, console: Console) -> int:
    root, folder, files = shipped_root(), Path(args.folder), shipped_files()
    if not files:
        fault, remedy = "the examples are missing from this installation", "Install vprdist again."
        raise LaunchError(root, fault, None, remedy)
    for place in dict.fromkeys(above for file in files for above in (folder / file).parents):
        if os.path.lexists(place) and not place.is_dir():
            raise LaunchError(place, "this must be a folder", None, "Move it away, or name another folder.")
    made = [file for file in files if _copied(root / file, folder / file)]
    kept = [file for file in files if file not in made]
    console.print(f"{folder.resolve()}:", soft_wrap=True)
    for part in FOLDERS:
        names = [str(file.relative_to(part)) for file in made if file.parts[0] == part]
        if names:
            console.print(f"made {part}/: {', '.join(names)}")
    if kept:
        console.print(f"left as they were: {', '.join(map(str, kept))}")
    console.print(
        f"What each sweep asks, and what profiles say: {root / 'sweeps'}/README.md, {root / 'slurm'}/README.md"
    )
    console.print(NEXT if folder.resolve() == Path.cwd() else f"Next:\n  cd {shlex.quote(str(folder))}{NEXT[5:]}")
    return 0


def _copied(source: Path, target: Path) -> bool:
    """Whether a file was written: what lies in its place, a link that leads nowhere too, is never written over."""
    target.parent.mkdir(parents=True, exist_ok=True)
    data, rights = source.read_bytes(), source.stat().st_mode & 0o777 | 0o200
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, rights)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    return True
