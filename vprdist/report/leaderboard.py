"""The leaderboard of a sweep: terminal table, CSV, Markdown, Parquet."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.table import Table

from vprdist.console import Console, fitting, styled, table_width, visible
from vprdist.files import write_text
from vprdist.long_table import Line, drawn, telling
from vprdist.parquet import write_parquet
from vprdist.report.differing import differing, naming
from vprdist.report.escaping import csv_text, markdown_cell, markdown_line
from vprdist.report.evidence import Block, Difference, Standing
from vprdist.report.own_table import own_cells, own_fields, own_headers, own_record
from vprdist.report.parts import Part
from vprdist.report.published import COLUMNS, NOTES, published_rows
from vprdist.report.reading import BELOW, against_text, p_text, reading, short, warnings
from vprdist.report.rows import Row, other_metrics
from vprdist.report.sources import code_lines, source_record
from vprdist.spec.result import NO_GPU
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import METRICS

FIELDS = (
    "name", "group", "trial", "mode", "classes", "mask_reduce", "conv1_init", "backbone", "unfreeze", "seeds",
    "holds_for", *METRICS, *(f"{column}_{end}" for column in METRICS for end in ("low", "high")), "interval",
    "recall@1_seed_sd", "baseline", "difference", "difference_low", "difference_high", "p", "p_holm", "p_all_pairs",
    "untrained_recall@1", "untrained", "trained_below_untrained", "protocol",
    "num_queries", "num_clusters", "steps", "wall_s", "num_ranks", "device", "fallbacks", "computation", "version",
    "source", "changed_by_hand", "differs",
)  # fmt: skip
PART_FIELDS = (
    "name", "trial", "protocol", "kind", "part", "num_queries", "num_clusters", "metric", "score", "low",
    "high",
)  # fmt: skip


def as_record(block: Block, standing: Standing) -> dict[str, object]:
    """One flat record of plain values; shares are in [0, 1], wall_s is the mean over the seeds in seconds.

    `holds_for` is what intervals and differences speak of; `untrained` is the objective before training.
    """
    row = standing.row
    return {
        "name": row.name,
        "group": standing.group,
        "trial": " ".join(result.trial_id for result in row.results),
        **_network_record(row.trial),
        "seeds": " ".join(map(str, row.seeds)),
        "holds_for": "settings" if block.knows_seeds else "these networks",
        **{column: row.metric(column) for column in METRICS},
        **{
            f"{column}_{end}": value
            for column, bounds in standing.intervals.items()
            for end, value in zip(("low", "high"), bounds, strict=True)
        },
        "interval": "clusters of queries" if standing.paired else "Wilson",
        "recall@1_seed_sd": row.seed_spread("recall@1"),
        **_difference_record(standing),
        "untrained_recall@1": row.untrained("recall@1"),
        "untrained": row.untrained(block.objective),
        "trained_below_untrained": {True: "yes", False: "no", None: None}[row.below_untrained(block.objective)],
        "protocol": row.fingerprint,
        "num_queries": row.results[0].num_queries,
        "num_clusters": block.num_clusters if standing.paired else None,
        "steps": row.results[0].steps,
        "wall_s": round(sum(result.wall_s for result in row.results) / len(row.results), 1),
        "num_ranks": "+".join(sorted({str(result.num_ranks) for result in row.results})),
        "device": "; ".join(sorted({result.device for result in row.results})),
        "fallbacks": "; ".join(sorted({text for result in row.results for text in result.fallbacks})),
        **source_record(row),
    }


def _network_record(trial: TrialSpec) -> dict[str, object]:
    """What the network is and sees; nothing of a program, which builds its own."""
    if trial.job is not None:
        return {}
    names = trial.input.class_names
    group = next((name for name, classes in trial.input.table.groups.items() if classes == names), "+".join(names))
    return {
        "mode": trial.input.mode,
        "classes": group if trial.input.uses_mask else None,
        "mask_reduce": trial.input.mask_reduce,
        "conv1_init": trial.input.conv1_init,
        "backbone": trial.network.backbone.title,
        "unfreeze": trial.network.unfreeze_name,
    }


def records(block: Block) -> Iterator[dict[str, object]]:
    """The records of a block, each with the keys by which its rows differ: `input.mode=rgb; network.unfreeze=0-2`."""
    keys = differing(block.rows)
    record = as_record if block.protocol else own_record
    for place, standing in enumerate(block.standings):
        told = [f"{key}={values[place]}" for key, values in keys.items() if values[place] is not None]
        yield record(block, standing) | {"differs": "; ".join(told)}


def _difference_record(standing: Standing) -> dict[str, object]:
    found = standing.difference
    if found is None:
        return {}
    low, high = found.interval or (None, None)
    return {
        "baseline": found.baseline,
        "difference": found.value,
        "difference_low": low,
        "difference_high": high,
        "p": found.p,
        "p_holm": found.p_holm,
        "p_all_pairs": found.p_all_pairs,
    }


def part_records(blocks: Sequence[Block]) -> list[dict[str, object]]:
    """The breakdowns, a record for each row and part of the queries."""
    return [
        {
            "name": standing.row.name,
            "trial": " ".join(result.trial_id for result in standing.row.results),
            "protocol": block.fingerprint,
            "kind": part.kind,
            "part": part.name,
            "num_queries": part.num_queries,
            "num_clusters": part.num_clusters,
            "metric": block.objective,
            "score": part.metrics[block.objective],
            "low": part.intervals[block.objective][0],
            "high": part.intervals[block.objective][1],
        }
        for block in blocks
        for standing in block.standings
        for part in standing.parts
    ]


def write_leaderboard(
    folder: Path, blocks: Sequence[Block], title: str, published: bool = False, probes: str | None = None
) -> list[Path]:
    """Publish leaderboard.csv, .md, .parquet, and breakdown.csv where there are breakdowns; returns their paths.

    Args:
        published: as in `show`.
        probes: a line on those that are still to be made.
    """
    rows = [record for block in blocks for record in records(block)]
    paths = [folder / f"leaderboard.{kind}" for kind in ("csv", "md", "parquet")]
    fields = fields_of(blocks)
    write_text(paths[0], csv_table(rows, fields))
    write_text(paths[1], markdown(blocks, title, published, probes))
    write_parquet(paths[2], rows, fields)
    if parts := part_records(blocks):
        paths.append(folder / "breakdown.csv")
        write_text(paths[-1], csv_table(parts, PART_FIELDS))
    return paths


def fields_of(blocks: Sequence[Block]) -> tuple[str, ...]:
    """The columns of the files: those of protocols, those of a program's own numbers, or both."""
    own = any(block.protocol is None for block in blocks)
    evaluated = any(block.protocol is not None for block in blocks) or not blocks
    return tuple(dict.fromkeys((*(FIELDS if evaluated else ()), *(own_fields(blocks) if own else ()))))


def csv_table(records: Sequence[Mapping[str, object]], fields: Sequence[str]) -> str:
    """Records as the text of a CSV file."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _csv_value(value) for key, value in record.items()} for record in records)
    return stream.getvalue()


def _csv_value(value: object) -> object:
    if isinstance(value, str):
        return csv_text(value)
    if isinstance(value, float) and not 1e-3 <= abs(value) < 1e6 and value:  # a program's: of any size
        return f"{value:.6g}"
    return f"{value:.6f}" if isinstance(value, float) else "" if value is None else value


def with_interval(value: float, bounds: tuple[float, float] | None, signed: bool = False) -> str:
    """A score or a difference, its interval in brackets where it has one."""
    form = "+.3f" if signed else ".3f"
    return f"{value:{form}}" + ("" if bounds is None else f" [{bounds[0]:{form}}, {bounds[1]:{form}}]")


def difference_text(found: Difference) -> str:
    """A difference with its interval, a dash for an interval that nothing tells."""
    return with_interval(found.value, found.interval, signed=True) + (" [–]" if found.interval is None else "")


def score_text(objective: str, standing: Standing) -> str:
    """The objective with its interval, marked where it was better before training."""
    row = standing.row
    text = with_interval(row.metric(objective), standing.intervals.get(objective))
    return f"{BELOW} {text}" if row.below_untrained(objective) else text


def row_cells(block: Block, standing: Standing) -> list[str]:
    """A row's words, below those of `headers`."""
    if block.protocol is None:
        return own_cells(block, standing)
    row, found, objective = standing.row, standing.difference, block.objective
    against = against_text(block, standing)
    untrained = row.untrained(objective)
    spread = row.seed_spread("recall@1")
    group, p = [], []
    if block.knows_seeds:
        group = ["-" if standing.group is None else str(standing.group)]
        p = ["-" if found is None else p_text(found.corrected)]
    return [
        row.name,
        *group,
        score_text(objective, standing),
        against or "-" if found is None else "\n".join(filter(None, (difference_text(found), against))),
        *p,
        *(f"{row.metric(column):.3f}" for column in other_metrics(objective)),
        "-" if untrained is None else f"{untrained:.3f}",
        str(len(row.seeds)) if spread is None else f"{len(row.seeds)} (sd {spread:.3f})",
        f"{sum(r.wall_s for r in row.results) / len(row.results):.0f}",
        row.results[0].trial_id[:8] + (f" +{len(row.results) - 1}" if len(row.results) > 1 else ""),
    ]


def headers(block: Block) -> list[str]:
    """The columns of a leaderboard, the objective before the other metrics; groups and p where seeds are known."""
    if block.protocol is None:
        return own_headers(block)
    name = short(block.objective)
    rest = map(short, other_metrics(block.objective))
    ends = (f"{name} untrained", "seeds", "wall s", "trial")
    if block.knows_seeds:
        return ["name", "group", f"{name} [95 %]", "to baseline [95 %]", "p", *rest, *ends]
    return ["name", f"{name} [95 %]", "to baseline, these networks [95 %]", *rest, *ends]


PUBLISHED_HEADERS = ("our row", "in Table I", *map(short, COLUMNS))
PUBLISHED_TITLE = "the paper's Table I, ours in brackets"
KEPT = ("name", "group", "[95 %]", "p")
"""How the headers end that every terminal shows; a narrow one goes without the rest, which the files have anyway."""
KEPT_PUBLISHED = ("our row", "in Table I", "R@1")
PARTS_A_TABLE = 6
PART_WIDTH = 25
"""Terminal columns that a part takes: 0.683 [0.590, 0.764] below (n 11084, 1100 clusters)."""
NAME_WIDTH = 16
"""Longer names are broken into lines before a column is left out."""
CELL_WIDTH = 25
"""No number is longer; the name of a baseline may be, and is broken into lines."""


def rows_of(blocks: Sequence[Block]) -> list[Row]:
    """The rows of all blocks, in order."""
    return [standing.row for block in blocks for standing in block.standings]


def fallbacks(rows: Sequence[Row]) -> list[str]:
    """What results fell back to, each once; a machine without a GPU is none."""
    return sorted({text for row in rows for result in row.results for text in result.fallbacks} - {NO_GPU})


def machine_notes(rows: Sequence[Row]) -> list[str]:
    """What is plain to say of the machines that results were made on."""
    return [NO_GPU] if any(NO_GPU in result.fallbacks for row in rows for result in row.results) else []


def show(blocks: Sequence[Block], title: str, console: Console, parts: bool = False, published: bool = False) -> None:
    """Print the leaderboard; a narrow terminal gets fewer columns, never cut numbers.

    Args:
        parts: also the breakdowns by city, subtask and view direction.
        published: the paper's Table I beside rows of other data too.
    """
    for block in blocks:
        cells = [row_cells(block, standing) for standing in block.standings]
        lines = [[name, *map(_broken, rest)] for name, *rest in cells]
        heads = [head.replace(" untrained", "\nuntrained").replace(", ", ",\n") for head in headers(block)]
        told = "\n".join([*reading(block), *naming(rows_of([block]))])
        _print_table(console, f"{title}\n{block.heading}", heads, lines, KEPT, told)
        for text in warnings(block):
            console.print(text, style="yellow")
        if parts:
            a_table = min(PARTS_A_TABLE, max(1, (console.width - NAME_WIDTH) // PART_WIDTH))
            for heads, cells in _part_tables(block, a_table):
                heads = [head.replace(" (", "\n(") for head in heads]
                _print_table(console, f"{short(block.objective)} by part of the queries", heads, cells, ("",))
        if beside := published_rows(block, published):
            _print_table(console, PUBLISHED_TITLE, PUBLISHED_HEADERS, beside, KEPT_PUBLISHED)
    if any(published_rows(block, published) for block in blocks):
        for note in NOTES:
            console.print(note, style="dim")
    for text in code_lines(rows_of(blocks)):
        console.print(text, style="yellow")
    for text in fallbacks(rows_of(blocks)):
        console.print(f"fell back: {text}", style="yellow")
    for text in machine_notes(rows_of(blocks)):
        console.print(text, style="dim")


def _broken(cell: str) -> str:
    return "\n".join(part for line in cell.split("\n") for part in textwrap.wrap(line, CELL_WIDTH) or [""])


def _part_tables(block: Block, a_table: int = PARTS_A_TABLE) -> list[tuple[list[str], list[list[str]]]]:
    """(headers, lines) of the breakdowns: a row each, so many parts a table."""
    measured = [standing for standing in block.standings if standing.parts]
    parts = measured[0].parts if measured else ()
    tables = []
    for start in range(0, len(parts), a_table):
        chosen = slice(start, start + a_table)
        heads = ["name", *(part_name(part) for part in parts[chosen])]
        cells = [[s.row.name, *(part_score(p, block.objective) for p in s.parts[chosen])] for s in measured]
        tables.append((heads, cells))
    return tables


def part_score(part: Part, metric: str) -> str:
    """The score with its interval."""
    return with_interval(part.metrics[metric], part.intervals[metric])


def part_name(part: Part) -> str:
    """Which queries, how many, and in how many clusters."""
    clusters = f"{part.num_clusters} cluster{'' if part.num_clusters == 1 else 's'}"
    return f"{part.kind} {part.name} (n {part.num_queries}, {clusters})"


def _print_table(
    console: Console, title: str, heads: Sequence[str], lines: Sequence[Sequence[str]], kept: Sequence[str],
    caption: str | None = None,
) -> None:  # fmt: skip
    """Where there is no room, names are broken into lines, then columns left out from the right: never cut numbers.

    Args:
        kept: how the headers end that are not left out.
    """
    names = max(len(part) for line in (heads, *lines) for part in line[0].split("\n"))

    told = telling(lines, visible)

    def draw(shown: Sequence[int], some: Sequence[Line]) -> Table:
        table = Table(
            title=styled(title), title_justify="left", caption_justify="left",
            caption=None if caption is None else styled(caption),
        )  # fmt: skip
        for index in shown:
            table.add_column(
                heads[index], justify="right" if index else "left", no_wrap=index > 0,
                min_width=None if index else min(names, NAME_WIDTH // 2), overflow="fold",
            )  # fmt: skip
        for line in some:
            table.add_row(*(line[index] for index in shown))
        return table

    columns = range(len(heads))
    spare = [index for index in reversed(columns) if not heads[index].endswith(tuple(kept))]
    broken = max(0, names - NAME_WIDTH)  # characters of the names that their lines save
    shown = fitting(columns, spare, lambda some: table_width(console, draw(some, told)) - broken, console.width)
    console.print(drawn(draw, shown, lines, told))


def markdown(blocks: Sequence[Block], title: str, published: bool = False, probes: str | None = None) -> str:
    """The leaderboard as Markdown; `published` as in `show`, `probes` as in `write_leaderboard`."""
    parts = [f"# {markdown_line(title)}", "", *([probes, ""] if probes else [])]
    for block in blocks:
        lines = [row_cells(block, standing) for standing in block.standings]
        parts += [markdown_line(block.heading), "", *markdown_table(headers(block), lines), ""]
        told = (*warnings(block), *reading(block), *naming(rows_of([block])))
        parts += [line for text in told for line in (markdown_line(text), "")]
        for heads, cells in _part_tables(block):
            parts += [f"{short(block.objective)} by part of the queries:", "", *markdown_table(heads, cells), ""]
        if beside := published_rows(block, published):
            parts += [f"{PUBLISHED_TITLE[0].upper()}{PUBLISHED_TITLE[1:]}:", ""]
            parts += [*markdown_table(PUBLISHED_HEADERS, beside), ""]
    if any(published_rows(block, published) for block in blocks):
        parts += [line for note in NOTES for line in (note, "")]
    parts += [line for text in code_lines(rows_of(blocks)) for line in (markdown_line(text), "")]
    parts += [line for text in fallbacks(rows_of(blocks)) for line in (f"Fell back: {markdown_line(text)}", "")]
    parts += machine_notes(rows_of(blocks))
    return "\n".join(parts).rstrip() + "\n"


def markdown_table(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, its first column to the left."""
    rule = f"| {' | '.join(['---', *('---:' for _ in headers[1:])])} |"
    head, *rows = (f"| {' | '.join(map(markdown_cell, line))} |" for line in (headers, *lines))
    return [head, rule, *rows]
