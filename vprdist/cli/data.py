"""`vprdist data`: the demo city, and a look at a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vprdist.cli.convert import add_convert
from vprdist.cli.layout import add_layout, add_leave_out, layout_or_recognised, left_out_given
from vprdist.cli.options import add_cities, add_city, add_image_size, old_spelling
from vprdist.cli.pack import add_pack
from vprdist.cli.words import about
from vprdist.console import Console, add_command, bar, fitted_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from vprdist.console import Commands
    from vprdist.data.layouts import City, Side

NAMED = 5
"""Pictures of a kind that are named."""


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    data = commands.add_parser("data", help=about("data"))
    group = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo = add_command(group, "demo", _demo, "make the built-in demo city", "city --seed 7 --image-size 240 320")
    demo.add_argument("out", type=Path, help="a folder of its own")
    demo.add_argument("--seed", type=int, default=0, help="another seed is another city (default: %(default)s)")
    add_image_size(demo, "picture size, pixels (default: 96 128)", (96, 128))
    old_spelling(demo, "--size", "--image-size", nargs=2)
    demo.add_argument("--streets", type=int, help="streets a city")
    demo.add_argument("--places", type=int, help="places a street")
    sheet = add_command(group, "sheet", _sheet, "draw places of a demo city as one picture", "city sheet.png")
    sheet.add_argument("folder", type=Path, help="a demo city, e.g. runs/data/demo-…")
    sheet.add_argument("out", type=Path, help="the PNG to write")
    add_city(sheet, "one of its cities")
    sheet.add_argument(
        "--conditions", action="store_true", help="one pose in every weather, at every time, in more and more traffic"
    )
    info = add_command(
        group,
        "info",
        _info,
        "read a data set, count what is in it, and find what a sweep would refuse",
        "/data/msls --cities zurich cph",
    )
    info.add_argument("root", type=Path, help="its folder; for MSLS the one that holds train_val/")
    add_layout(info, "as it is recognised")
    add_leave_out(info)
    add_cities(info, "all")
    info.add_argument("--decode", action="store_true", help="decode every picture whole: finds more, and takes long")
    add_convert(group)
    add_pack(group)


def _demo(args: argparse.Namespace, console: Console) -> int:
    from vprdist.demo import make
    from vprdist.spec.demo import DemoSpec
    from vprdist.spec.read import Origin, validate

    sizes = {name: getattr(args, name) for name in ("streets", "places") if getattr(args, name) is not None}
    height, width = args.image_size
    origin = Origin(Path("vprdist data demo"))
    spec = validate(DemoSpec, {"seed": args.seed, "height": height, "width": width, **sizes}, origin)
    with bar(console, "rendering the demo city") as advance:
        make(spec, args.out, progress=advance)
    console.print(f"{args.out}: an MSLS tree with cities {', '.join(spec.cities)}, labels and semantics.")
    console.print(f"Look at it: vprdist data sheet {args.out} sheet.png")
    return 0


def _sheet(args: argparse.Namespace, console: Console) -> int:
    from vprdist.demo import conditions_sheet, sheet

    if args.conditions:
        conditions_sheet(args.folder, args.out, city=args.cities)
        console.print(f"{args.out}: one pose in every weather at every time; below, traffic and its classes.")
        return 0
    sheet(args.folder, args.out, city=args.cities)
    console.print(f"{args.out}: visits of one place side by side; picture, classes, static mask.")
    return 0


def _info(args: argparse.Namespace, console: Console) -> int:
    """The exit code is 2 where a sweep would refuse pictures that are there."""
    from vprdist.data.layouts import open_layout

    headings = ("city", "split", "queries", "with\npositives", "database", "panoramas", "sequences", "labels", "digest")
    lines, said, refused = list[tuple[str, ...]](), list[str](), list[str]()
    chosen = layout_or_recognised(args.layout, args.root, console)
    layout = open_layout(args.root, chosen, left_out_given(args.leave_out))
    cities = [layout.read(name) for name in args.cities or layout.names()]
    total, done = sum(len(side) for city in cities for side in city.sides), 0
    with bar(console, "looking at pictures") as advance:

        def looked() -> None:
            nonlocal done
            done += 1
            advance(done, total)

        for city in cities:
            there = [side for side in city.sides if _has_pictures(side)]
            refused += filter(None, (_broken(side, args.decode, looked) for side in there))
            digest = layout.digest(city.name) if len(there) == len(city.sides) else "-"
            if digest == "-":
                said.append(f"{city.name}: its tables are there, and its pictures are not (below {city.folder})")
            counts, words = _count(city)
            lines.append((city.name, city.split or "-", *counts, digest))
            said += words
    console.print(fitted_table(console, headings, lines, words=(0,), spare=(6, 5, 1, 7)))
    for line in (*said, *refused):
        console.print(line, style="yellow")
    if refused:
        console.print(
            "A sweep refuses such pictures. Unpack their cities again, or leave them out: "
            "trial.data.leave_out: [city/key], or trial.data.broken: leave_out."
        )
    elif done and not args.decode:
        console.print("Both ends of each picture were looked at; --decode decodes each whole.", style="dim")
    console.print(
        "A digest is of tables, names and sizes. What pictures hold is noted by a run folder that first uses them.",
        style="dim",
    )
    return 2 if refused else 0


def _count(city: City) -> tuple[tuple[str, ...], list[str]]:
    """A city's cells of the table, and what there is to say of it beside its pictures."""
    from vprdist.data.label_choice import angle_facts, label_kind, taken_labels
    from vprdist.data.layouts.less import left_out_words
    from vprdist.data.official import official_blocks
    from vprdist.data.positives import rows_within
    from vprdist.spec.data import DataSpec

    words, found, labels = [*left_out_words(city), *_lacking(city)], "-", "-"
    plain, placed = DataSpec(), all(side.easting is not None for side in city.sides)
    if city.truth is not None:
        found = str(int((city.truth.positives.getnnz(axis=1) > 0).sum()))
        words.append(f"{city.name}: positives {city.truth.told}: the data set knows them itself")
    elif placed:
        rows = rows_within(city.query.positions, city.database.positions, 25.0)
        found = str(sum(len(row) > 0 for row in rows))
        if found == "0":
            words.append(f"{city.name}: no query has a database image within 25 m: it cannot be measured")
    if city.label_file is not None and city.label_file.exists():
        labels = "official"
        next(official_blocks(city))  # says what is wrong with the file
    elif placed or city.truth is not None:
        labels = label_kind(city, plain)
        words += angle_facts(city, plain)
        words += taken_labels([city], plain) if labels in ("distance", "truth") else ()
    panos = int(city.query.pano.sum() + city.database.pano.sum())
    sequences = len(set(city.query.sequence_key)) + len(set(city.database.sequence_key))
    return tuple(map(str, (len(city.query), found, len(city.database), panos, sequences, labels))), words


def _lacking(city: City) -> list[str]:
    """What nobody knows of a city's pictures, and what is known beyond: a line each."""
    import numpy as np

    lines, sides = list[str](), city.sides
    absent = ["positions"] if any(side.easting is None for side in sides) else []
    absent += ["headings"] if all(np.isnan(side.headings).all() for side in sides) else []
    absent += ["sequences"] if all(len(np.unique(side.sequence_key)) == len(side) for side in sides) else []
    if absent:
        lines.append(f"{city.name}: not known of its pictures: {', '.join(absent)}")
    for side in sides:
        found, counts = np.unique(side.conditions[side.conditions != ""], return_counts=True)
        told = ", ".join(f"{word} ({count})" for word, count in zip(found.tolist(), counts.tolist(), strict=True))
        what = "conditions, each a subtask of the evaluation" if side is city.query else "conditions of the database"
        lines += [f"{city.name}: {what}: {told}"] if told else []
    return lines


def _has_pictures(side: Side) -> bool:
    """Whether there is any folder of them: whoever only wants to evaluate predictions needs the tables alone."""
    from vprdist.data.pictures import picture_folders

    return any(folder.is_dir() for folder in picture_folders(side.paths))


def _broken(side: Side, decode: bool, looked: Callable[[], None]) -> str:
    """A line for a person about the pictures of a side that cannot be read; empty where all can."""
    from collections import defaultdict

    from vprdist.data.layouts.less import name_of
    from vprdist.data.pictures import faults

    rows: defaultdict[str, list[int]] = defaultdict(list)
    for fault in faults(side, looked, decode=decode):
        rows[fault.what].append(fault.row)
    parts = []
    for what, some in rows.items():
        names = ", ".join(name_of(side, row) for row in some[:NAMED]) + (", …" if len(some) > NAMED else "")
        parts.append(f"{len(some)} of {len(side)} pictures: each {what} ({names})")
    return f"{side.city}/{side.side}: {'; '.join(parts)}" if parts else ""
