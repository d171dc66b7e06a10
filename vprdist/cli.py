"""The `vprdist` command. Every sub-command says what it made and what to do next."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from vprdist import __version__, sweep

Work = Callable[[argparse.Namespace, Console], int]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; 2 for bad input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["sweep"]:
        return sweep.main(arguments[1:], prog="vprdist sweep")
    args = _parser().parse_args(arguments)
    work: Work = args.work
    return sweep.guarded(lambda console: work(args, console))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vprdist",
        description="Which semantic classes help a network recognise a place?",
        epilog="example: vprdist sweep sweeps/table1.yaml",
    )
    parser.add_argument("--version", action="version", version=f"vprdist {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    commands.add_parser("sweep", help="run a sweep file and show its leaderboard (vprdist sweep --help)")
    board = _command(commands, "leaderboard", _leaderboard, "show and write a sweep's leaderboard again", "table1")
    board.add_argument("name", help="the sweep's name")
    board.add_argument("--runs", type=Path, default=Path("runs"), help="where results are kept (default: %(default)s)")
    _data_commands(commands)
    _cache_commands(commands)
    return parser


def _command(commands: Commands, name: str, work: Work, text: str, example: str = "") -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.epilog = f"example: {parser.prog} {example}".rstrip()
    parser.set_defaults(work=work)
    return parser


def _data_commands(commands: Commands) -> None:
    data = commands.add_parser("data", help="the demo city, and a look at an MSLS tree")
    group = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo = _command(group, "demo", _data_demo, "make the built-in demo city", "city --seed 7 --size 240 320")
    demo.add_argument("out", type=Path, help="a folder of its own")
    demo.add_argument("--seed", type=int, default=0, help="another seed is another city (default: %(default)s)")
    demo.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), default=(96, 128), help="picture size, pixels")
    demo.add_argument("--streets", type=int, help="streets a city")
    demo.add_argument("--places", type=int, help="places a street")
    sheet = _command(group, "sheet", _data_sheet, "draw places of a demo city as one picture", "city sheet.png")
    sheet.add_argument("folder", type=Path, help="a demo city, e.g. runs/data/demo-…")
    sheet.add_argument("out", type=Path, help="the PNG to write")
    sheet.add_argument("--city", help="one of its cities")
    info = _command(group, "info", _data_info, "read an MSLS tree and count what is in it", "/data/msls --city zurich")
    info.add_argument("root", type=Path, help="the folder that holds train_val/")
    info.add_argument("--city", action="append", help="only this city (may be given again)")


def _cache_commands(commands: Commands) -> None:
    cache = commands.add_parser("cache", help="caches of semantic activations")
    group = cache.add_subparsers(title="commands", required=True, metavar="COMMAND")
    example = "lip6_semantics --data lip6 --out cache/lip6"
    take = _command(group, "import", _cache_import, "make a cache from .npz files or grey PNGs", example)
    take.add_argument("source", type=Path, help="a folder of <city>_<side>.npz, or of <city>/<side>/<key>/<class>.png")
    take.add_argument("--data", type=Path, required=True, help="the MSLS tree that the activations belong to")
    take.add_argument("--out", type=Path, required=True, help="the cache's folder")
    take.add_argument("--city", action="append", help="only this city (may be given again; default: all)")
    take.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="activation size (default: the source's)")
    take.add_argument("--segmenter", default="imported", help="the network's name, for the record")
    for name, work, text in (
        ("info", _cache_info, "what a cache holds"),
        ("verify", _cache_verify, "read every shard of a cache and compare its digest"),
    ):
        command = _command(group, name, work, text, "cache/lip6")
        command.add_argument("path", type=Path, help="the cache's folder")


def _leaderboard(args: argparse.Namespace, console: Console) -> int:
    runs = args.runs.resolve()
    return sweep.leaderboard(runs / "sweeps" / args.name, runs, console)


def _data_demo(args: argparse.Namespace, console: Console) -> int:
    from vprdist.data.demo import make
    from vprdist.spec.demo import DemoSpec
    from vprdist.spec.read import Origin, validate

    sizes = {name: getattr(args, name) for name in ("streets", "places") if getattr(args, name) is not None}
    height, width = args.size
    origin = Origin(Path("vprdist data demo"))
    spec = validate(DemoSpec, {"seed": args.seed, "height": height, "width": width, **sizes}, origin)
    with sweep.bar(console, "rendering the demo city") as advance:
        make(spec, args.out, progress=advance)
    console.print(f"{args.out}: an MSLS tree with cities {', '.join(spec.cities)}, labels and semantics.")
    console.print(f"Look at it: vprdist data sheet {args.out} sheet.png")
    return 0


def _data_sheet(args: argparse.Namespace, console: Console) -> int:
    from vprdist.data.demo import sheet

    sheet(args.folder, args.out, city=args.city)
    console.print(f"{args.out}: visits of one place side by side; picture, classes, static mask.")
    return 0


def _data_info(args: argparse.Namespace, console: Console) -> int:
    from rich.table import Table

    from vprdist.data.msls import check_images, city_digest, city_folder, city_names, read_city
    from vprdist.data.positives import rows_within

    table = Table("city", "split", "queries", "with positives", "database", "panoramas", "sequences", "digest")
    names = args.city or city_names(args.root)
    if not names:
        city_folder(args.root, "any")  # says what an MSLS tree is
    for name in names:
        city = read_city(args.root, name)
        for side in city.sides:
            check_images(side)
        found = "-"
        if city.query.easting is not None and city.database.easting is not None:
            rows = rows_within(city.query.positions, city.database.positions, 25.0)
            found = str(sum(len(row) > 0 for row in rows))
        panos = int(city.query.pano.sum() + city.database.pano.sum())
        sequences = len(set(city.query.sequence_key)) + len(set(city.database.sequence_key))
        counts = (len(city.query), found, len(city.database), panos, sequences, city_digest(args.root, name))
        table.add_row(name, city.split, *map(str, counts))
    console.print(table)
    return 0


def _cache_import(args: argparse.Namespace, console: Console) -> int:
    from vprdist.semantics.importing import import_cache

    size = tuple(args.size) if args.size else None
    with sweep.bar(console, "importing") as advance:
        cache = import_cache(
            args.source, args.data, args.out, args.city, size=size, segmenter=args.segmenter, progress=advance
        )
    _describe_cache(cache.path, console)
    console.print(f"Use it: python -m vprdist.sweep sweeps/table1.yaml … trial.input.cache={args.out}")
    return 0


def _cache_info(args: argparse.Namespace, console: Console) -> int:
    _describe_cache(args.path, console)
    return 0


def _describe_cache(path: Path, console: Console) -> None:
    from vprdist.semantics.cache import open_cache

    manifest = open_cache(path).manifest
    images = sum(shard.count for shard in manifest.shards)
    size = sum(shard.bytes for shard in manifest.shards)
    console.print(
        f"{path}: {images} images, {len(manifest.classes)} classes at {manifest.height}x{manifest.width}, "
        f"{len(manifest.shards)} shards, {size / 1e6:.1f} MB, compression {manifest.compression}, "
        f"digest {manifest.digest}"
    )
    console.print(f"cities: {', '.join(f'{city} ({digest})' for city, digest in sorted(manifest.cities.items()))}")


def _cache_verify(args: argparse.Namespace, console: Console) -> int:
    from vprdist.semantics.cache import verify

    with sweep.bar(console, "verifying") as advance:
        verify(args.path, progress=advance)
    console.print(f"{args.path}: every shard is as it was written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
