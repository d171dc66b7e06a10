"""`vprdist data pack`: the pictures of a data set in a few large files."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from vprdist.cli.layout import add_layout, add_leave_out, layout_or_recognised, left_out_given
from vprdist.cli.options import add_cities, add_image_size
from vprdist.console import Console, add_command, bar
from vprdist.errors import DataError

if TYPE_CHECKING:
    from vprdist.console import Commands

PLAIN = re.compile(r"[\w./-]+")
"""A path that YAML reads as it stands."""
LEAST, MOST = 32, 4096
"""Pixels of a side of a picture, as `train.image_size` has it."""


def add_pack(group: Commands) -> None:
    """Add it to the commands of `vprdist data`."""
    text = "pack the pictures of a data set into a few large files, for file systems that many small ones slow down"
    pack = add_command(
        group, "pack", _pack, text, "/data/msls /scratch/msls.pack --cities zurich cph --image-size 480 640"
    )
    pack.add_argument("root", type=Path, help="the data set's folder; for MSLS the one that holds train_val/")
    pack.add_argument("out", type=Path, help="the pack's folder; the same command again goes on where it was cut")
    add_layout(pack, "as it is recognised")
    add_leave_out(pack)
    add_cities(pack, "all")
    add_image_size(pack, "pack decoded pixels of this size, the trials' (default: the bytes of the files)")
    pack.add_argument(
        "--shard-mb", type=int, default=256, metavar="N", help="megabytes of a file, at most (default: %(default)s)"
    )
    pack.add_argument(
        "--processes", type=int, metavar="N", help="that read and decode (default: one a core, as memory allows)"
    )


def _pack(args: argparse.Namespace, console: Console) -> int:
    from vprdist.data.layouts import open_layout
    from vprdist.data.pack.making import Wanted, make_pack

    for option, value in (("--shard-mb", args.shard_mb), ("--processes", args.processes)):
        if value is not None and value < 1:
            raise DataError(option, "this must be 1 or more", value)
    if args.image_size and not all(LEAST <= pixels <= MOST for pixels in args.image_size):
        raise DataError("--image-size", f"height and width must be {LEAST} to {MOST} pixels", args.image_size)
    layout = open_layout(
        args.root, layout_or_recognised(args.layout, args.root, console), left_out_given(args.leave_out)
    )
    wanted = Wanted(
        layout, tuple(args.cities or layout.names()), tuple(args.image_size) if args.image_size else None,
        args.shard_mb * 10**6, args.processes,
    )  # fmt: skip
    with bar(console, "packing pictures") as advance:
        made = make_pack(wanted, args.out, advance)
    size = sum(shard.bytes for shard in made.shards)
    console.print(
        f"{args.out}: {made.num_pictures} pictures of {', '.join(made.cities)} in {len(made.shards)} files, "
        f"{size / 1e6:,.1f} MB ({made.kind})."
    )
    folder = str(args.out.resolve())
    plain = folder if PLAIN.fullmatch(folder) else json.dumps(folder)
    console.print(f"In the sweep file: trial: {{data: {{pack: {plain}}}}}")
    console.print(f"Or on the command line: {shlex.quote(f'trial.data.pack={plain}')}")
    if made.image_size is not None:
        size_words = "[{}, {}]".format(*made.image_size)
        console.print(f"Trials of train.image_size {size_words} read it; pictures of other sizes come from files.")
    return 0
