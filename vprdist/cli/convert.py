"""`vprdist data convert`: a data set in another layout."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vprdist.cli.layout import add_layout, add_leave_out, layout_or_recognised, left_out_given
from vprdist.cli.options import add_cities
from vprdist.console import Console, add_command, bar
from vprdist.errors import UserError

if TYPE_CHECKING:
    from vprdist.console import Commands

FORMS = ("msls", "utm")
FAR_M = 1e4
"""Metres between two frames that no walk and no train makes."""


def add_convert(group: Commands) -> None:
    """Add it to the commands of `vprdist data`."""
    text = "write a data set in another layout, its pictures as links"
    convert = add_command(group, "convert", _convert, text, "/data/pitts30k /data/pitts30k-msls --to msls")
    convert.add_argument("root", type=Path, help="its folder")
    convert.add_argument("out", type=Path, help="the folder to write; cities that are there stay")
    convert.add_argument("--to", choices=FORMS, required=True, help="the layout to write")
    convert.add_argument(
        "--copy", action="store_true", help="copy pictures, where links would not outlive their source"
    )
    convert.add_argument(
        "--frame-m",
        type=float,
        metavar="M",
        help="metres between frames of a city without positions, which are made up",
    )
    add_layout(convert, "as it is recognised")
    add_leave_out(convert)
    add_cities(convert, "all")


def _convert(args: argparse.Namespace, console: Console) -> int:
    from vprdist.data.convert import Target, convert
    from vprdist.data.layouts import open_layout

    if args.frame_m is not None and not 0 < args.frame_m < FAR_M:
        raise UserError(
            "--frame-m", f"two frames must lie above 0 and below {FAR_M:g} m apart", args.frame_m, "Mend it."
        )
    chosen = layout_or_recognised(args.layout, args.root, console)
    layout = open_layout(args.root, chosen, left_out_given(args.leave_out))
    cities, target = args.cities or layout.names(), Target(args.out, args.to, args.copy, args.frame_m)
    total, done = sum(len(side) for name in cities for side in layout.read(name).sides), 0
    with bar(console, "writing pictures") as advance:

        def written(count: int) -> None:
            nonlocal done
            done += count
            advance(done, total)

        told = convert(layout, cities, target, written)
    for name, words in told.items():
        for word in words:
            console.print(
                f"{name}: not kept: {word}" if "nothing was" not in word else f"{name}: {word}", style="yellow"
            )
    how = "copies" if args.copy else "links to where they lie now (--copy: copies)"
    console.print(
        f"{args.out}: {len(told)} {'city' if len(told) == 1 else 'cities'} in the layout {args.to}, pictures as {how}.",
        soft_wrap=True,
    )
    layout_key = "" if args.to == "msls" else f" trial.data.layout={args.to}"
    console.print(f"Look at it: vprdist data info {args.out} --layout {args.to}", soft_wrap=True)
    console.print(f"Use it: trial.data.root={args.out}{layout_key}", soft_wrap=True)
    return 0
