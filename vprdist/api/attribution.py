"""What a finished search says of its classes, as a notebook has it."""

from __future__ import annotations

from vprdist.api.html import paragraphs, table
from vprdist.api.table import Table
from vprdist.report.attribution import effect_records
from vprdist.report.attribution_tables import Column, lines, player_columns
from vprdist.report.beside_tables import side_columns
from vprdist.report.beside_words import answer as side_answer
from vprdist.report.beside_words import title
from vprdist.report.wording import answer, heading, reading
from vprdist.spec.attribution import EFFECT_COLUMNS, AttributionReport


class Attribution:
    """What each class adds, with intervals and placebos.

    Attributes:
        report: all of it, typed: settings, players, claims, placebos, arms, settings side by side.

    Example:
        >>> {player.player: player.claim for player in sweep.attribution.report.settings[0].players}
    """

    def __init__(self, report: AttributionReport, probes: str | None = None) -> None:
        self.report, self._probes = report, probes

    @property
    def effects(self) -> Table:
        """A row an effect, with the columns of `attribution.parquet`."""
        return Table.of(effect_records(self.report), EFFECT_COLUMNS, "effects")

    @property
    def answers(self) -> list[str]:
        """What may be claimed, a sentence or two for each setting, then over settings side by side."""
        found = [answer(setting, self.report.objective) for setting in self.report.settings]
        return [*found, *(side_answer(side, self.report) for side in self.report.side_by_side)]

    def __repr__(self) -> str:
        return "\n".join(filter(None, [*self.answers, self._probes]))

    def _repr_html_(self) -> str:
        shown = paragraphs(filter(None, [self._probes]))
        for setting in self.report.settings:
            shown += _table(player_columns(setting), heading(setting)) if setting.players else ""
            shown += paragraphs([answer(setting, self.report.objective), *reading(setting)])
        for side in self.report.side_by_side:
            shown += _table(side_columns(side, self.report), title(side))
            shown += paragraphs([side_answer(side, self.report)])
        return shown


def _table(columns: list[Column], name: str) -> str:
    return table([column.head for column in columns], [[cell.text for cell in row] for row in lines(columns)], name)
