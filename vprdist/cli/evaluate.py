"""`vprdist evaluate`: a trial under another protocol, or what others retrieved or described, by the MSLS rules."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich.table import Table

from vprdist.api.sources import Source, named_source
from vprdist.cli.layout import add_layout, add_leave_out, layout_given, left_out_given
from vprdist.cli.options import add_image_size, add_runs
from vprdist.cli.words import about
from vprdist.console import Console, add_command, bar, fitting, styled, table_width
from vprdist.errors import UserError
from vprdist.report.evaluated import Published, publish_evaluation
from vprdist.spec.choices import Choices
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import KS, METRICS, SUBTASKS, Gallery, NoPositives, Scope, Storage, Whitening

if TYPE_CHECKING:
    from vprdist.console import Commands
    from vprdist.evaluation.measure import Measured

Line = tuple[str, int, str, Mapping[str, float]]
"""A line of the table: a part of the queries or a variant, its queries, an interval, the metrics."""
FIRST_LEFT_OUT = ("map@1", "map@5", "map@10", "recall@10", "map@20", "recall@20", "recall@5")
"""A narrow terminal leaves these out, one after the other."""
OF_EVALUATE = (
    "subtask", "gallery", "queries", "database", "no_positives", "image_size", "whitening", "dimensions", "storage",
    "predict",
)  # fmt: skip
"""Options that are keys of `evaluate`."""


def add_commands(commands: Commands) -> None:
    """Add it to the command line."""
    text = about("evaluate")
    parser = add_command(commands, "evaluate", _evaluate, text, "table1/'rgb 0-2' --gallery merged")
    parser.epilog = (
        f"{parser.epilog} · {parser.prog} theirs.txt --data /data/msls --cities cph sf --subtask d2n · "
        f"{parser.prog} queries.npz database.npz --data /data/msls --cities miami athens"
    )
    what = "a trial (id, its beginning, SWEEP/row name, or its folder); a file of predictions (.txt, .csv); or files "
    parser.add_argument(
        "what", nargs="+", help=what + "of descriptors (.npz, or .npy with its keys in a .txt beside it)"
    )
    parser.add_argument("--data", type=Path, metavar="ROOT", help="a data set (default: the trial's)")
    add_layout(parser, "the trial's")
    add_leave_out(parser, "the trial's")
    parser.add_argument("--cities", nargs="+", metavar="CITY", help="cities to measure on (default: the trial's)")
    parser.add_argument(
        "--predict",
        nargs="+",
        metavar="CITY",
        help="write predictions for cities whose ground truth is not there, for others to score",
    )
    parser.add_argument("--subtask", metavar="SUBTASK", help=f"{', '.join(SUBTASKS)}, or a condition of the queries")
    parser.add_argument("--gallery", choices=get_args(Gallery), help="one gallery a city, or one of all")
    parser.add_argument("--queries", choices=get_args(Scope), help="every: no matter of which subtask")
    parser.add_argument("--database", choices=get_args(Scope), help="every: images outside the subtask too")
    parser.add_argument(
        "--no-positives", choices=get_args(NoPositives), help="queries without a positive: drop them, or count misses"
    )
    add_image_size(parser, "for the network")
    parser.add_argument("--whitening", choices=get_args(Whitening), help="PCA, and what it is learnt on")
    parser.add_argument("--dimensions", nargs="+", type=int, metavar="D", help="after whitening")
    parser.add_argument("--storage", choices=get_args(Storage), help="of descriptors")
    parser.add_argument("--rerank", metavar="NAME", help="a second stage: none, mutual_nearest, or a class of your own")
    parser.add_argument("--top", type=int, help="images that the second stage orders anew (default: 100)")
    parser.add_argument("--out", type=Path, help="a folder for the results (default: beside what is evaluated)")
    add_runs(parser)


def _evaluate(args: argparse.Namespace, console: Console) -> int:
    source = named_source(args.what, _choices(args), args.runs.resolve(), lambda title: bar(console, title))
    out = args.out or source.out
    if args.predict and not source.answers.predicts:
        raise UserError(
            source.name, "a file of predictions cannot predict", None, "Name a trial, or files of descriptors."
        )
    if args.predict:
        from vprdist.evaluation.measure import predict

        path = out / "submission.txt"
        count = predict(source.trial, source.answers, args.predict, path)
        console.print(f"{path}: predictions for {count} queries of {', '.join(args.predict)}.")
    if args.cities or not args.predict:
        for judged in source.judged:
            _measure(source, judged, out, console)
    return 0


def _measure(source: Source, trial: TrialSpec, out: Path, console: Console) -> None:
    from vprdist.evaluation.measure import measure

    measured = measure(trial, source.answers)
    published = publish_evaluation(source.name, measured, out)
    _show(source.name, measured, published, console)
    console.print(f"\nwritten: {published.folder} (evaluation.json, queries.parquet, predictions)")


def _choices(args: argparse.Namespace) -> Choices:
    """What the command line chooses in the place of what a trial has."""
    return Choices(
        root=None if args.data is None else str(args.data),
        layout=None if args.layout is None else layout_given(args.layout),
        leave_out=None if args.leave_out is None else left_out_given(args.leave_out),
        cities=args.cities,
        evaluate={name: getattr(args, name) for name in OF_EVALUATE if getattr(args, name) is not None},
        rerank=args.rerank,
        top=args.top,
        asked="vprdist evaluate",
        word=lambda key: "--data" if key == "root" else f"--{key.replace('_', '-')}",
        example="--data ROOT --cities cph sf",
    )


def _show(name: str, measured: Measured, published: Published, console: Console) -> None:
    """A narrow terminal gets fewer metrics, never cut numbers; evaluation.json has them all."""
    protocol = measured.protocol
    lines: list[Line] = [
        (part.label, part.num_queries, "{:.3f}-{:.3f}".format(*part.intervals[f"recall@{KS[0]}"]), part.metrics)
        for part in published.parts
    ]
    for each in published.variants:
        kind = "not whitened" if each.protocol.whitening == "none" else f"{each.protocol.dimensions} dimensions"
        lines.append((f"{kind} ({each.protocol.fingerprint})", protocol.num_queries, "-", each.metrics))
    heading = f"{name}\nprotocol {protocol.fingerprint}: {protocol.summary}"

    def draw(shown: Sequence[str]) -> Table:
        return _table(heading, lines, shown)

    console.print(draw(fitting(METRICS, FIRST_LEFT_OUT, lambda some: table_width(console, draw(some)), console.width)))
    for note in measured.notes:
        console.print(f"note: {note}", style="yellow")


def _table(heading: str, lines: Sequence[Line], shown: Sequence[str]) -> Table:
    table = Table(title=styled(heading), title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("n", justify="right")
    table.add_column(f"R@{KS[0]} 95 %", no_wrap=True)
    for name in shown:
        table.add_column(name.replace("recall", "R").replace("map", "mAP"), justify="right")
    for name, num_queries, interval, metrics in lines:
        table.add_row(name, str(num_queries), interval, *(f"{metrics[column]:.3f}" for column in shown))
    return table
