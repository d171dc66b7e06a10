"""What a sweep could tell: the smallest difference between its rows that it would find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vprdist.errors import UserError
from vprdist.plan.noise import Noise, detectable, measured_noise
from vprdist.spec.result import ResultRow
from vprdist.spec.sweep import SweepSpec
from vprdist.store.manifest import compared
from vprdist.store.queries import Queries, queries_path, read_queries
from vprdist.store.trial_folder import TrialFolder

MORE_SEEDS = (1, 3, 5, 10)


@dataclass(frozen=True)
class Power:
    """The counts that a sweep's power hangs on, and the noise that is expected.

    `chosen`: the baseline is the best row, which pays for all pairs of rows.
    """

    objective: str
    num_queries: int
    num_seeds: int
    num_comparisons: int
    noise: Noise
    left_out: tuple[str, ...] = ()
    chosen: bool = False

    def effect(self, num_seeds: int) -> float:
        """The detectable difference with that many seeds a row."""
        return detectable(
            num_queries=self.num_queries, num_seeds=num_seeds, num_comparisons=self.num_comparisons, noise=self.noise
        )

    def lines(self) -> Iterator[str]:
        """For a person: the effect, what it is taken from, and what more seeds would bring."""
        noise, count = self.noise, self.num_comparisons
        if self.num_seeds == 1:
            yield (
                f"{self.num_queries} queries, 1 seed a row: differences in {self.objective} will stand without p and "
                "groups, since another seed may turn the order"
            )
        else:
            pairs = "pair" if self.chosen else "comparison"
            corrected = f"{'all' if self.chosen else 'Holm over'} {count} {pairs}{'' if count == 1 else 's'}"
            yield (
                f"differences in {self.objective} from {self.effect(self.num_seeds):.3f} on are found (80 % power at "
                f"5 %, {corrected}): {self.num_queries} queries, {self.num_seeds} seeds a row"
            )
        queries = f"measured on {noise.pairs} pairs of earlier trials" if noise.pairs else "assumed: no earlier trials"
        seeds = "measured" if noise.seeds_measured else "assumed"
        yield (
            f"two rows differ on {noise.discordance:.0%} of queries, neighbours alike by a factor "
            f"{noise.design_effect:.1f} ({queries}); a score varies by {noise.seed_sd:.3f} over seeds ({seeds})"
        )
        more = [seeds for seeds in MORE_SEEDS if seeds > self.num_seeds]
        if more:
            least = ", ".join(f"with {seeds} seeds {self.effect(seeds):.3f}" for seeds in more)
            power = " (80 % power at 5 %)" if self.num_seeds == 1 else ""
            yield f"the least difference that is found{power}: {least}"
        if self.left_out:
            yield f"left out: {len(self.left_out)} file(s) of earlier trials, the first: {self.left_out[0]}"


def power_of(
    sweep: SweepSpec, num_queries: int | None, num_trials: int, results: Sequence[ResultRow], runs: Path
) -> Power | None:
    """What the sweep could tell; None where its queries are not known yet or there is nothing to compare.

    None too for a search of subsets, whose rows are not compared: `plan.queries.check_queries` speaks for it.

    Args:
        results: earlier ones, newest first; those on the same cities tell how rows differ.
    """
    num_rows = num_trials // len(sweep.seeds)
    if num_queries is None or num_rows < 2 or sweep.search.subsets is not None:
        return None
    num_comparisons, chosen = _num_comparisons(sweep, num_rows)
    if num_comparisons == 0:
        return None
    trial = sweep.trials[0].judged
    like = [
        row
        for row in results
        if row.protocol is not None
        and row.protocol.num_queries == num_queries
        and row.protocol.subtask == trial.evaluate.subtask
        and set(row.protocol.cities) == set(trial.data.validate_cities)
    ]
    like = [row for row in like if row.fingerprint == like[0].fingerprint]
    left_out: list[str] = []

    def queries_of(name: str) -> Queries | None:
        try:
            return read_queries(queries_path(TrialFolder.of(runs, name).path))
        except UserError as error:
            left_out.append(str(error))
            return None

    noise = measured_noise(like, queries_of, sweep.objective)
    return Power(sweep.objective, num_queries, len(sweep.seeds), num_comparisons, noise, tuple(left_out), chosen)


def _num_comparisons(sweep: SweepSpec, num_rows: int) -> tuple[int, bool]:
    """Rows that will have a p-value: those whose baseline is another row; where it is the best row, all pairs, True."""
    pairs = compared(sweep, sweep.trials)
    if not pairs:
        return num_rows * (num_rows - 1) // 2, True
    others = [trial for trial, baseline in pairs if trial != baseline and trial.seed == sweep.seeds[0]]
    return len({trial.model_dump_json() for trial in others}), False  # the same experiment twice is one row
