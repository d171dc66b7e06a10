"""`vprdist data`: the demo city, and a look at a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vprdist.cli.layout import add_layout, layout_given
from vprdist.console import Console, add_command, bar, fitted_table

if TYPE_CHECKING:
    from vprdist.console import Commands


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    data = commands.add_parser("data", help="the demo city, and a look at a data set")
    group = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo = add_command(group, "demo", _demo, "make the built-in demo city", "city --seed 7 --size 240 320")
    demo.add_argument("out", type=Path, help="a folder of its own")
    demo.add_argument("--seed", type=int, default=0, help="another seed is another city (default: %(default)s)")
    demo.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), default=(96, 128), help="picture size, pixels")
    demo.add_argument("--streets", type=int, help="streets a city")
    demo.add_argument("--places", type=int, help="places a street")
    sheet = add_command(group, "sheet", _sheet, "draw places of a demo city as one picture", "city sheet.png")
    sheet.add_argument("folder", type=Path, help="a demo city, e.g. runs/data/demo-…")
    sheet.add_argument("out", type=Path, help="the PNG to write")
    sheet.add_argument("--city", help="one of its cities")
    info = add_command(group, "info", _info, "read a data set and count what is in it", "/data/msls --city zurich")
    info.add_argument("root", type=Path, help="its folder; for MSLS the one that holds train_val/")
    add_layout(info)
    info.add_argument("--city", action="append", help="only this city (may be given again)")


def _demo(args: argparse.Namespace, console: Console) -> int:
    from vprdist.demo import make
    from vprdist.spec.demo import DemoSpec
    from vprdist.spec.read import Origin, validate

    sizes = {name: getattr(args, name) for name in ("streets", "places") if getattr(args, name) is not None}
    height, width = args.size
    origin = Origin(Path("vprdist data demo"))
    spec = validate(DemoSpec, {"seed": args.seed, "height": height, "width": width, **sizes}, origin)
    with bar(console, "rendering the demo city") as advance:
        make(spec, args.out, progress=advance)
    console.print(f"{args.out}: an MSLS tree with cities {', '.join(spec.cities)}, labels and semantics.")
    console.print(f"Look at it: vprdist data sheet {args.out} sheet.png")
    return 0


def _sheet(args: argparse.Namespace, console: Console) -> int:
    from vprdist.demo import sheet

    sheet(args.folder, args.out, city=args.city)
    console.print(f"{args.out}: visits of one place side by side; picture, classes, static mask.")
    return 0


def _info(args: argparse.Namespace, console: Console) -> int:
    from vprdist.data.layouts import open_layout
    from vprdist.data.official import official_blocks
    from vprdist.data.positives import rows_within

    headings = ("city", "split", "queries", "with\npositives", "database", "panoramas", "sequences", "labels", "digest")
    lines = []
    layout = open_layout(args.root, layout_given(args.layout))
    for name in args.city or layout.names():
        city = layout.read(name)
        layout.check(city)
        found = "-"
        if city.query.easting is not None and city.database.easting is not None:
            rows = rows_within(city.query.positions, city.database.positions, 25.0)
            found = str(sum(len(row) > 0 for row in rows))
        panos = int(city.query.pano.sum() + city.database.pano.sum())
        sequences = len(set(city.query.sequence_key)) + len(set(city.database.sequence_key))
        labels = "computed" if all(side.ca is not None for side in city.sides) else "-"
        if city.label_file is not None and city.label_file.exists():
            labels = "official"
            next(official_blocks(city))  # says what is wrong with the file
        counts = (len(city.query), found, len(city.database), panos, sequences, labels, layout.digest(name))
        lines.append((name, city.split or "-", *map(str, counts)))
    console.print(fitted_table(console, headings, lines, words=(0,), spare=(6, 5, 1, 7)))
    return 0
