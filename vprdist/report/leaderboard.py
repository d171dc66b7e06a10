"""The leaderboard of a sweep: terminal table, CSV, Markdown, Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vprdist.files import write_parquet, write_text
from vprdist.report.published import COLUMNS, NOTES, TABLE_I, published_name
from vprdist.report.rows import Row
from vprdist.spec.vocabulary import CLASS_GROUPS

FIELDS = (
    "name", "trial", "mode", "classes", "mask_reduce", "conv1_init", "backbone", "unfreeze", "seeds", *COLUMNS,
    "recall@1_noise95", "recall@1_seed_sd", "untrained_recall@1", "protocol", "num_queries", "steps", "wall_s",
    "num_ranks", "device", "fallbacks",
)  # fmt: skip


def as_record(row: Row) -> dict[str, object]:
    """One flat record of plain values; shares are in [0, 1], wall_s is the mean over the seeds in seconds."""
    trial, names = row.trial, row.trial.input.class_names
    group = next((name for name, classes in CLASS_GROUPS.items() if classes == names), "+".join(names))
    return {
        "name": row.name,
        "trial": " ".join(result.trial_id for result in row.results),
        "mode": trial.input.mode,
        "classes": group if trial.input.uses_mask else None,
        "mask_reduce": trial.input.mask_reduce,
        "conv1_init": trial.input.conv1_init,
        "backbone": trial.network.backbone,
        "unfreeze": trial.network.unfreeze_name,
        "seeds": " ".join(map(str, row.seeds)),
        **{column: row.metric(column) for column in COLUMNS},
        "recall@1_noise95": row.query_noise("recall@1"),
        "recall@1_seed_sd": row.seed_spread("recall@1"),
        "untrained_recall@1": row.untrained("recall@1"),
        "protocol": row.protocol.fingerprint,
        "num_queries": row.protocol.num_queries,
        "steps": row.results[0].steps,
        "wall_s": round(sum(result.wall_s for result in row.results) / len(row.results), 1),
        "num_ranks": "+".join(sorted({str(result.num_ranks) for result in row.results})),
        "device": "; ".join(sorted({result.device for result in row.results})),
        "fallbacks": "; ".join(sorted({text for result in row.results for text in result.fallbacks})),
    }


def write_leaderboard(folder: Path, rows: Sequence[Row], title: str) -> list[Path]:
    """Publish leaderboard.csv, .md and .parquet; returns their paths."""
    records = [as_record(row) for row in rows]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _csv_value(value) for key, value in record.items()} for record in records)
    paths = [folder / f"leaderboard.{kind}" for kind in ("csv", "md", "parquet")]
    write_text(paths[0], stream.getvalue())
    write_text(paths[1], markdown(rows, title))
    write_parquet(paths[2], records, FIELDS)
    return paths


def _csv_value(value: object) -> object:
    return f"{value:.6f}" if isinstance(value, float) else "" if value is None else value


def _cells(row: Row) -> list[str]:
    untrained = row.untrained("recall@1")
    spread = row.seed_spread("recall@1")
    return [
        row.name,
        f"{row.metric('recall@1'):.3f} ±{row.query_noise('recall@1'):.3f}",
        *(f"{row.metric(column):.3f}" for column in COLUMNS[1:]),
        "-" if untrained is None else f"{untrained:.3f}",
        str(len(row.seeds)) if spread is None else f"{len(row.seeds)} (sd {spread:.3f})",
        f"{sum(r.wall_s for r in row.results) / len(row.results):.0f}",
        row.results[0].trial_id[:8] + (f" +{len(row.results) - 1}" if len(row.results) > 1 else ""),
    ]


HEADERS = (
    "name", "R@1", "R@5", "R@10", "R@20", "mAP@1", "mAP@5", "mAP@10", "mAP@20", "R@1 untrained", "seeds", "wall s",
    "trial",
)  # fmt: skip
READING = "± is the 95 % interval that the number of queries alone leaves; rows closer than that are not told apart."


def _by_protocol(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    return [
        (f"protocol {mark}: {members[0].protocol.summary}", members)
        for mark, group in groupby(rows, key=lambda row: row.protocol.fingerprint)
        for members in [list(group)]
    ]


def _published_cells(rows: Sequence[Row]) -> list[list[str]]:
    """The paper's row and ours beside it, in the paper's order."""
    ours = {name: row for row in reversed(rows) if (name := published_name(row))}
    return [
        [
            f"{name} ({ours[name].name})",
            *(f"{v:.3f} ({ours[name].metric(c):.3f})" for c, v in zip(COLUMNS, printed, strict=True)),
        ]
        for name, printed in TABLE_I.items()
        if name in ours
    ]


PUBLISHED_HEADERS = ("published (our row)", *HEADERS[1:9])
WIDE = 130
"""Terminal columns that the whole table takes; a narrower one goes without what the files have anyway."""
WIDE_ONLY = ("mAP@1", "mAP@5", "mAP@10", "seeds", "wall s", "trial")


def fallbacks(rows: Sequence[Row]) -> list[str]:
    """What results fell back to, each once."""
    return sorted({text for row in rows for result in row.results for text in result.fallbacks})


def show(rows: Sequence[Row], title: str, console: Console) -> None:
    """Print the leaderboard; a narrow terminal gets fewer columns, never cut numbers."""
    for heading, members in _by_protocol(rows):
        _print_table(console, f"{title}\n{heading}", HEADERS, [_cells(row) for row in members], READING)
    if beside := _published_cells(rows):
        stacked = [[cell.replace(" (", "\n(") for cell in line] for line in beside]
        _print_table(console, "the paper's Table I, ours in brackets below", PUBLISHED_HEADERS, stacked)
        for note in NOTES:
            console.print(note, style="dim", markup=False)
    for text in fallbacks(rows):
        console.print(f"fell back: {text}", style="yellow", markup=False)


def _print_table(
    console: Console, title: str, headers: Sequence[str], lines: Sequence[Sequence[str]], caption: str | None = None
) -> None:
    table = Table(title=Text(title), title_justify="left", caption=caption, caption_justify="left")
    shown = [i for i, header in enumerate(headers) if console.width >= WIDE or header not in WIDE_ONLY]
    for index in shown:
        table.add_column(headers[index], justify="left" if index == 0 else "right", no_wrap=index < 2)
    for line in lines:
        table.add_row(*(Text(line[index]) for index in shown))
    console.print(table)


def markdown(rows: Sequence[Row], title: str) -> str:
    """The leaderboard as Markdown."""
    parts = [f"# {title}", ""]
    for heading, members in _by_protocol(rows):
        parts += [heading, "", *_markdown_table(HEADERS, [_cells(row) for row in members]), "", READING, ""]
    if cells := _published_cells(rows):
        parts += [
            "## The paper's Table I, ours in brackets",
            "",
            *_markdown_table(PUBLISHED_HEADERS, cells),
            "",
        ]
        parts += [line for note in NOTES for line in (note, "")]
    parts += [f"Fell back: {text}" for text in fallbacks(rows)]
    return "\n".join(parts).rstrip() + "\n"


def _markdown_table(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    rule = ["---", *("---:" for _ in headers[1:])]
    return [f"| {' | '.join(map(cell, line))} |" for line in (headers, rule, *lines)]
