"""`vprdist cache`: caches of semantic activations."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from vprdist.cli.layout import add_layout, add_leave_out, layout_given, left_out_given
from vprdist.cli.options import add_cities, add_city, add_image_size, add_runs
from vprdist.cli.words import about
from vprdist.console import Console, add_command, bar
from vprdist.errors import CacheError
from vprdist.spec.class_table import CITYSCAPES, WORDS, ClassTable, table_of
from vprdist.spec.segmenter import Precision
from vprdist.spec.vocabulary import Compression, MaskReduce

if TYPE_CHECKING:
    from vprdist.console import Commands
    from vprdist.semantics.sheet import ShownMask


SHOWN_CLASSES = 8
REPLACE = "a cache of another segmenter, size or compression in that folder gives way"


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    cache = commands.add_parser("cache", help=about("cache"))
    group = cache.add_subparsers(title="commands", required=True, metavar="COMMAND")
    example = "lip6_semantics --data lip6 --out cache/lip6"
    take = add_command(group, "import", _import, "make a cache from .npz files or grey PNGs", example)
    take.add_argument("source", type=Path, help="a folder of <city>_<side>.npz, or of <city>/<side>/<key>/<class>.png")
    take.add_argument("--data", type=Path, required=True, metavar="ROOT", help="the data set of the activations")
    add_layout(take)
    add_leave_out(take)
    take.add_argument("--out", type=Path, required=True, help="the cache's folder")
    add_cities(take, "all")
    take.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="activation size (default: the source's)")
    take.add_argument("--segmenter", default="imported", metavar="NAME", help="the network's name, for the record")
    take.add_argument(
        "--compression", choices=get_args(Compression), default="none",
        help="none is read fastest; lz4 takes about a quarter of its bytes, zstd a fifth (default: none)",
    )  # fmt: skip
    _add_table(take, "what the activations are of (default: what a .npz says, or the 19)")
    take.add_argument("--replace", action="store_true", help=REPLACE)
    _add_build(group)
    for name, work, text in (
        ("info", _info, "what a cache holds"),
        ("verify", _verify, "read every shard of a cache and compare its digest"),
    ):
        command = add_command(group, name, work, text, "cache/lip6")
        command.add_argument("path", type=Path, help="the cache's folder")
    give = add_command(group, "export", _export, "write a cache's activations as files again", "cache/lip6 --png pngs")
    give.add_argument("path", type=Path, help="the cache's folder")
    layout = give.add_mutually_exclusive_group(required=True)
    layout.add_argument("--png", type=Path, metavar="OUT", help="<city>/<side>/<key>/<class>.png, as the paper")
    layout.add_argument("--npz", type=Path, metavar="OUT", help="<city>_<side>.npz")
    give.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="of the PNGs (default: the cache's)")
    example = "cache/lip6 --data lip6 sheet.png --cities lip6b"
    draw = add_command(group, "sheet", _sheet, "draw pictures, classes, mask and masked pictures", example)
    draw.add_argument("path", type=Path, help="the cache's folder")
    draw.add_argument("out", type=Path, help="the PNG to write")
    draw.add_argument("--data", type=Path, required=True, metavar="ROOT", help="the data set of the cache")
    add_layout(draw)
    add_city(draw, "one of the cache's cities (default: the last)")
    draw.add_argument(
        "--trial", help="one whose masks, placebos too, are drawn: an id, its beginning, or SWEEP/row name"
    )
    add_runs(draw)
    draw.add_argument("--classes", help="a group, or class names with commas (default: the trial's, or static)")
    draw.add_argument(
        "--reduce", choices=get_args(MaskReduce), help="(default: the trial's, or sum; Table I's is mean)"
    )
    draw.add_argument("--images", type=int, default=6, help="columns (default: %(default)s)")


def _add_build(group: Commands) -> None:
    example = "--data lip6 --out cache/lip6 --segmenter litert:deeplab.tflite"
    make = add_command(group, "build", _build, "make a cache by segmenting pictures", example)
    make.add_argument("--data", type=Path, required=True, metavar="ROOT", help="the data set")
    make.add_argument("--pack", type=Path, metavar="FOLDER", help="its packed pictures (vprdist data pack)")
    add_layout(make)
    add_leave_out(make)
    make.add_argument("--out", type=Path, required=True, help="the cache's folder")
    add_cities(make, "all")
    make.add_argument(
        "--segmenter", required=True, metavar="NAME",
        help="deeplabv3plus, transformers:<name or folder>, litert:<file>, path/file.py:Name; with parameters of your "
        "own class as YAML: '{name: my_net.py:Net, width: 32}'",
    )  # fmt: skip
    make.add_argument("--weights", metavar="FILE", help="the checkpoint of deeplabv3plus")
    make.add_argument("--output-stride", type=int, choices=(8, 16), help="of deeplabv3plus (default: 16)")
    add_image_size(make, "what pictures are brought to")
    make.add_argument("--window", type=int, nargs=2, metavar=("H", "W"), help="segment in overlapping windows")
    make.add_argument("--overlap", type=float, help="of neighbouring windows (default: 0.25)")
    make.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    make.add_argument("--precision", choices=get_args(Precision), default="float32", help="on GPUs")
    make.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="stored size (default: the network's own)")
    make.add_argument("--compression", choices=get_args(Compression), default="none", help="(default: %(default)s)")
    _add_table(make, "the network's classes (default: the 19)")
    make.add_argument("--shard-images", type=int, default=256, metavar="N", help="images a shard (default: 256)")
    make.add_argument(
        "--cluster", default="local", metavar="PROFILE", help="a file of slurm/profiles, or auto (default: local)"
    )
    make.add_argument("--tasks", type=int, metavar="N", help="of the job array, at most (default: its limit)")
    make.add_argument("--replace", action="store_true", help=REPLACE)


def _add_table(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument(
        "--class-table", metavar="TABLE",
        help=f"{what}: {', '.join(WORDS)}, a file of names, a cache, or a network's config.json",
    )  # fmt: skip
    command.add_argument(
        "--top-k", type=int, metavar="K",
        help="store the K largest activations of each pixel, and note what is dropped (default: store all)",
    )  # fmt: skip


def _named(text: str) -> dict[str, Any]:
    """A segmenter as a word, or as YAML with the parameters of a user's own class."""
    from vprdist.spec.read import parse_value
    from vprdist.spec.segmenter import written_segmenter

    value = parse_value(text, "--segmenter") if text.startswith("{") else text
    return dict(written_segmenter(value, Path.cwd()))


def _build(args: argparse.Namespace, console: Console) -> int:
    from vprdist.data.layouts import open_layout
    from vprdist.data.layouts.less import read_names
    from vprdist.data.pack.use import check_pack
    from vprdist.semantics import segmenting
    from vprdist.semantics.order import CacheOrder
    from vprdist.spec.data import DataSpec
    from vprdist.spec.profile import read_profile
    from vprdist.spec.profile_choice import AUTO, choose_profile
    from vprdist.spec.read import Origin, validate
    from vprdist.spec.segmenter import SegmenterSpec

    origin = Origin(Path("vprdist cache build"))
    given = {
        **_named(args.segmenter), "weights": args.weights, "output_stride": args.output_stride,
        "image_size": args.image_size, "window": args.window, "overlap": args.overlap, "size": args.size,
        "inference": "sliding" if args.window else "resized", "flip": args.flip, "precision": args.precision,
    }  # fmt: skip
    segmenter = validate(SegmenterSpec, given, origin, ("segmenter",)).absolute()
    cluster, chosen = choose_profile("--cluster") if args.cluster == AUTO else (args.cluster, "")
    if chosen:
        console.print(chosen)
    profile, root, out = read_profile(cluster), args.data.resolve(), args.out.resolve()
    layout = layout_given(args.layout)
    cities = args.cities or open_layout(root, layout).names()
    values = {
        "root": str(root), "layout": layout.model_dump(mode="json"), "cities": cities, "out": str(out),
        "leave_out": read_names(left_out_given(args.leave_out)),
        "segmenter": segmenter.model_dump(mode="json"),
        "device": segmenting.device_of(profile, segmenter), "compression": args.compression,
        "shard_images": args.shard_images, "top_k": args.top_k, "class_table": args.class_table or CITYSCAPES,
    }  # fmt: skip
    if args.pack is not None:
        values["pack"] = str(args.pack.resolve())
        check_pack(DataSpec(root=str(root), layout=layout, leave_out=values["leave_out"], pack=values["pack"]), cities)
    order = validate(CacheOrder, values, origin)
    for note in segmenting.check(order, profile):
        console.print(f"not checked: {note}", style="dim")
    segmenting.make(
        order,
        profile,
        lambda text: console.print(text),
        lambda title: bar(console, title),
        args.tasks,
        replace=args.replace,
    )
    _describe(out, console)
    console.print(f"Look at it: vprdist cache sheet {args.out} --data {args.data} sheet.png")
    console.print(f"Use it:     {_use(args.out)}", soft_wrap=True)
    return 0


def _import(args: argparse.Namespace, console: Console) -> int:
    from vprdist.semantics.importing import import_cache

    size = tuple(args.size) if args.size else None
    with bar(console, "importing") as advance:
        cache = import_cache(
            args.source, args.data, args.out, args.cities,
            layout=layout_given(args.layout), leave_out=left_out_given(args.leave_out), size=size,
            segmenter=args.segmenter,
            compression=args.compression, class_table=args.class_table, top_k=args.top_k, replace=args.replace,
            progress=advance,
        )  # fmt: skip
    _describe(cache.path, console)
    console.print(f"Use it: {_use(args.out)}", soft_wrap=True)
    return 0


def _use(path: Path) -> str:
    """A command that trains with the cache; of another table than the 19 it says which, and of which classes masks are
    made where no group `static` says so."""
    table = _table(path)
    words = [f"trial.input.cache={path}"]
    if not table.is_default:
        words.append(f"trial.input.class_table={table.name if table.name in WORDS else path}")
    if "static" not in table.groups:
        words.append("trial.input.classes=[NAME, …]")
    return f"python -m vprdist.sweep sweeps/table1.yaml … {' '.join(map(shlex.quote, words))}"


def _info(args: argparse.Namespace, console: Console) -> int:
    from rich.table import Table

    from vprdist.semantics.cache import open_cache

    _describe(args.path, console)
    cache = open_cache(args.path)
    (shares, num_images), dropped = cache.mean_shares(), cache.dropped()
    lost = {} if dropped is None else dict(zip(cache.classes, dropped.by_class.tolist(), strict=True))
    table = Table("class", "mean share", "", title=f"how much of the pictures each class covers ({num_images} images)")
    if dropped is not None:
        table.add_column("dropped", justify="right")
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        more = [str(lost[name])] if lost else []
        table.add_row(name, f"{100 * share:5.1f} %", "#" * round(40 * share), *more)
    console.print(table)
    return 0


def _describe(path: Path, console: Console) -> None:
    from vprdist.semantics.cache import open_cache

    cache = open_cache(path)
    manifest = cache.manifest
    images = sum(shard.count for shard in manifest.shards)
    size = sum(shard.bytes for shard in manifest.shards)
    raw = len(manifest.classes) * manifest.height * manifest.width
    lies = "" if manifest.grid == "cells" else f" (grid: {manifest.grid})"
    console.print(
        f"{path}: {images} images, {len(manifest.classes)} classes at {manifest.height}x{manifest.width}{lies}, "
        f"{len(manifest.shards)} shards, {size / 1e6:.1f} MB, digest {manifest.digest}"
    )
    console.print(
        f"compression {manifest.compression} (version {manifest.version}): {size // images} bytes an image "
        f"of {raw} raw; segmenter: {manifest.segmenter}"
    )
    table, dropped = table_of(cache.classes), cache.dropped()
    if not table.is_default:
        console.print(f"classes: {table.name} ({_few(table.classes)})")
    if dropped is not None:
        console.print(f"top {manifest.top_k} of {len(table.classes)} classes: {dropped.words}")
    console.print(f"cities: {', '.join(f'{city} ({digest})' for city, digest in sorted(manifest.cities.items()))}")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= SHOWN_CLASSES else (*names[: SHOWN_CLASSES - 1], "…"))


def _export(args: argparse.Namespace, console: Console) -> int:
    from vprdist.semantics.cache import open_cache
    from vprdist.semantics.exporting import NOTE, export_npz, export_png, lost_before

    out = args.png or args.npz
    if args.npz and args.size:
        remedy = "Leave it out, or export PNGs."
        raise CacheError("--size", ".npz files cannot be resized, they hold a cache's own size", args.size, remedy)
    with bar(console, "exporting") as advance:
        if args.png:
            num_images = export_png(args.path, out, size=tuple(args.size) if args.size else None, progress=advance)
        else:
            num_images = export_npz(args.path, out, progress=advance)
    cache = open_cache(args.path)
    height, width = cache.size
    console.print(f"{out}: {num_images} images")
    if lost := lost_before(cache):
        text = f"Not in these files: {lost}. {out / NOTE} says so, and an import keeps the sentence in its segmenter."
        console.print(text, style="yellow", soft_wrap=True)
    console.print(f"Import them: vprdist cache import {out} --data ROOT --out CACHE --size {height} {width}")
    return 0


def _verify(args: argparse.Namespace, console: Console) -> int:
    from vprdist.semantics.cache import verify

    with bar(console, "verifying") as advance:
        verify(args.path, progress=advance)
    console.print(f"{args.path}: every shard is as it was written.")
    return 0


def _sheet(args: argparse.Namespace, console: Console) -> int:
    from vprdist.semantics.sheet import write_sheet

    masks = _shown_masks(args)
    write_sheet(
        args.path, args.data, args.out, layout=layout_given(args.layout), city=args.cities, masks=masks,
        images=args.images,
    )  # fmt: skip
    told = ", ".join(mask.words for mask in masks)
    line = f"{args.out}: pictures, their classes, masks ({told}), masked pictures as dark as a network sees them."
    console.print(line)
    return 0


def _shown_masks(args: argparse.Namespace) -> list[ShownMask]:
    """The masks that the words ask for; of a trial with a placebo, the mask in whose place it stands as well."""
    from vprdist.semantics.sheet import ShownMask, class_names
    from vprdist.spec.arms import Arm
    from vprdist.status.find import find_trial

    if args.trial is None:
        table = _table(args.path)
        arm = Arm(class_names(args.classes or ("static" if "static" in table.groups else "all"), table))
        return [ShownMask(arm=arm, reduce=args.reduce or "sum")]
    trial = find_trial(args.runs.resolve(), args.trial).trial()
    given = trial.input
    if not given.uses_mask:
        fault = "the trial must have a mask"
        raise CacheError("--trial", fault, f"mode {given.mode}", "Name one of mode masked or rgb+mask, or none.")
    assert given.mask_reduce is not None
    classes = class_names(args.classes, given.table) if args.classes else given.class_names
    return [
        ShownMask(
            arm=Arm(classes, placebo), reduce=args.reduce or given.mask_reduce, seed=trial.seed,
            form=("features" if given.at_features else given.mask_fill) if given.mode == "masked" else None,
            mean=trial.network.backbone.mean,
        )
        for placebo in dict.fromkeys(("none", given.placebo))
    ]  # fmt: skip


def _table(path: Path) -> ClassTable:
    from vprdist.semantics.cache import open_cache

    return table_of(open_cache(path).classes)
