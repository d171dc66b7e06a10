"""What is said of settings that differ in one thing: the form of the mask, or the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vprdist.report.attribution_tables import placebos_of
from vprdist.report.wording import CLAIM_WORDS, NEEDS_CONTROL, bounds, effect_text, level, setting_name
from vprdist.spec.attribution import (
    Agreement,
    AttributionReport,
    Claim,
    ColumnPair,
    PlayerRow,
    SettingRow,
    SideBySide,
    Verdict,
)

VERDICT_WORDS: Mapping[Verdict, str] = {
    **{claim: claim for claim in ("helps", "hurts", "raises", "lowers")},
    "depends": "depends", "none": CLAIM_WORDS["none"], "untold": CLAIM_WORDS["untold"],
}  # fmt: skip
"""Where there is no room for `verdict_text`."""
ORDER: Mapping[Verdict, int] = {
    "helps": 6, "raises": 5, "depends": 4, "none": 3, "untold": 2, "lowers": 1, "hurts": 0,
}  # fmt: skip
"""What a column of verdicts is sorted by."""
OTHER_FORMS = "search.grid: {input.mask_at: [picture, features]}"
NOT_RUN = "not run"
MANY = 3
"""Columns of one claim that are counted where others have another claim, and not named."""
MOST_PAIRS = 3
"""Pairs of columns that a sentence has one by one; of more, the least and the most alike."""
Cells = dict[str, PlayerRow | None]
"""By column one player's row; None where the column does not have it."""


def columns_of(side: SideBySide, report: AttributionReport) -> list[SettingRow]:
    """The settings of the columns."""
    return [report.settings[place] for place in side.settings]


def cells_of(side: SideBySide, report: AttributionReport, player: str) -> Cells:
    """A player's row in each column."""
    found = zip(side.columns, columns_of(side, report), strict=True)
    return {name: next((row for row in column.players if row.player == player), None) for name, column in found}


def title(side: SideBySide) -> str:
    """`Class x form`, and where: `Class x form (mode masked)`."""
    name = setting_name(side.shared)
    return f"Class x {side.kind}" + (f" ({name})" if name else "")


def verdict_text(side: SideBySide, report: AttributionReport, player: str) -> str:
    """A player's verdict, and on what it depends: `depends on the form: helps in black; no claim in features`."""
    verdict = next(each.verdict for each in side.players if each.player == player)
    if verdict == "untold":
        return CLAIM_WORDS["untold"]
    if verdict == "none":
        return f"{CLAIM_WORDS['none']} in any {side.kind}"
    if verdict == "depends":
        return f"depends on the {side.kind}: {_by_claim(cells_of(side, report, player))}"
    lacks = f": {NEEDS_CONTROL[verdict]}" if verdict in ("raises", "lowers") else ""
    return f"{verdict} in every {side.kind}{lacks}"


def _by_claim(cells: Cells) -> str:
    """`helps in black, blur; hurts in features`; where many columns claim the same: `hurts in features; helps in the
    other 5`."""
    found: dict[str, list[str]] = {}
    for claim in ("helps", "raises", "hurts", "lowers", "none", "untold"):
        names = [name for name, row in cells.items() if row is not None and row.claim == claim]
        # "raises, no control" has a comma of its own.
        found |= {claim if claim in NEEDS_CONTROL else CLAIM_WORDS[claim]: names} if names else {}
    if missing := [name for name, row in cells.items() if row is None]:
        found[NOT_RUN] = missing
    largest = max(found, key=lambda word: len(found[word]))
    parts = [f"{word} in {', '.join(names)}" for word, names in found.items() if word != largest]
    names = found[largest]
    if len(names) >= MANY and parts:
        return "; ".join([*parts, f"{largest} in the other {len(names)}"])
    return "; ".join(f"{word} in {', '.join(names)}" for word, names in found.items())


def answer(side: SideBySide, report: AttributionReport) -> str:
    """What holds in every column, what depends on it, and what is not told: the last word of a sweep."""
    by_verdict: dict[str, list[str]] = {word: [] for word in VERDICT_WORDS}
    for each in side.players:
        by_verdict[each.verdict].append(each.player)
    where = f"In every {side.kind} that was run ({_joined(side.columns)})"
    held = [
        f"{', '.join(names)} {word if len(names) == 1 else word.removesuffix('s')}"
        + (f" {report.objective} ({NEEDS_CONTROL[word]})" if word in NEEDS_CONTROL else "")
        for word in ("helps", "raises", "hurts", "lowers")
        if (names := by_verdict[word])
    ]
    out = [f"{where}: {'; '.join(held)}." if held else f"{where} no class was found to help or to hurt."]
    if names := by_verdict["depends"]:
        told = "; ".join(f"{name} ({_by_claim(cells_of(side, report, name))})" for name in names)
        out.append(f"It depends on the {side.kind} for {told}.")
    if names := by_verdict["none"]:
        out.append(f"{_capital(CLAIM_WORDS['none'])} in any {side.kind}: {', '.join(names)}.")
    if names := by_verdict["untold"]:
        out.append(f"{_capital(CLAIM_WORDS['untold'])} of {', '.join(names)}.")
    return " ".join(out)


def reading(side: SideBySide, report: AttributionReport) -> list[str]:
    """Where columns disagree, how alike they order the classes, which placebos each had, how claims are to be read."""
    lines = [*_opposed(side, report)]
    if side.kind == "network":
        lines += [_compared(pair, side, report) for pair in side.pairs]
    elif text := _alike(side):
        lines.append(text)
    columns = columns_of(side, report)
    if text := _placebos(side.columns, columns):
        lines.append(text)
    if side.kind == "network" and all(column.is_fixed for column in columns):
        lines.append("Nobody trained these networks: claims hold for each very network, over places.")
    lines.append(
        f"A verdict needs its claim in every {side.kind}, so it needs no correction for their number; a claim in one "
        f"{side.kind} holds at {level(columns[0])} there alone, and no claim is not no effect."
    )
    return lines


def one_form(report: AttributionReport) -> str | None:
    """Once a report: that claims are of the one form that was run; None where several were, or masks have none."""
    forms = list(dict.fromkeys(row.form.words for row in report.settings if row.form is not None and row.players))
    if len(forms) != 1:
        return None
    return (
        f"One form of the mask was run: {forms[0]}. What is said here is of that form, and may differ in another "
        f"({OTHER_FORMS})."
    )


def agreement_text(found: Agreement) -> str:
    """0.62 [0.40, 0.81]; a dash where it has no meaning."""
    if found.tau is None:
        return "–"
    known = found.low is not None and found.high is not None
    return f"{found.tau:.2f}" + (f" [{found.low:.2f}, {found.high:.2f}]" if known else "")


def _opposed(side: SideBySide, report: AttributionReport) -> list[str]:
    """Players whose intervals leave zero out on either side: with their numbers."""
    out = []
    for each in side.players:
        if each.is_opposed:
            rows = [(name, row) for name, row in cells_of(side, report, each.player).items() if row is not None]
            told = [(f"{effect_text(row.adds)} in {name}", ends) for name, row in rows if (ends := bounds(row.adds))]
            above = _joined(text for text, (low, _) in told if low > 0)
            below = _joined(text for text, (_, high) in told if high < 0)
            out.append(
                f"{_capital(side.kind)}s disagree in the sign of {each.player}: it adds {above}, but {below}; each of "
                "these intervals leaves zero out."
            )
    return out


def _alike(side: SideBySide) -> str:
    """How alike the columns order the classes."""
    found = [pair for pair in side.pairs if pair.agreement.tau is not None]
    if not found:
        return ""
    shown = sorted(found, key=lambda pair: -(pair.agreement.tau or 0.0))
    if len(shown) > MOST_PAIRS:
        shown = [shown[0], shown[-1]]
        head = f"from the {len(found)} pairs of {side.kind}s, the most and the least alike"
    else:
        head = f"between {side.kind}s"
    told = "; ".join(f"{' and '.join(pair.columns)} {agreement_text(pair.agreement)}" for pair in shown)
    return f"Order of what classes add, Kendall's tau-b {head} (1: the same order, 0: unrelated): {told}."


def _compared(pair: ColumnPair, side: SideBySide, report: AttributionReport) -> str:
    """Do two networks look at the same things?"""
    one, other = pair.columns
    claims = {
        each.player: [row.claim if row else None for row in (cells[one], cells[other])]
        for each in side.players
        if (cells := cells_of(side, report, each.player))
    }
    both = [f"{name} ({_claims(a, b)})" for name, (a, b) in claims.items() if _sign(a) and _sign(a) == _sign(b)]
    against = [name for name, (a, b) in claims.items() if _sign(a) * _sign(b) < 0]
    first = [f"{name} ({a})" for name, (a, b) in claims.items() if _sign(a) and not _sign(b)]
    second = [f"{name} ({b})" for name, (a, b) in claims.items() if _sign(b) and not _sign(a)]
    parts = [
        f"{head}: {', '.join(names)}"
        for head, names in (
            ("in both", both), ("in opposite directions", against), (f"in {one} alone", first),
            (f"in {other} alone", second),
        )
        if names
    ]  # fmt: skip
    said = f"claimed {'; '.join(parts)}" if parts else "nothing is claimed in either"
    tau = (
        "" if pair.agreement.tau is None else f" Kendall's tau-b of what classes add: {agreement_text(pair.agreement)}."
    )
    return f"Do {one} and {other} look at the same things? {_capital(said)}. {_told_apart(pair)}{tau}"


def _told_apart(pair: ColumnPair) -> str:
    """Which classes' worth differs, on the same queries."""
    known = {name: found for name, each in pair.differences.items() if (found := bounds(each))}
    if not known:
        return "How much they differ is not told: their queries were not kept apart, or are too few."
    apart = [name for name, (low, high) in known.items() if low > 0 or high < 0]
    rest = [max(map(abs, found)) for name, found in known.items() if name not in apart]
    than = f" (no difference larger than {max(rest):.3f})" if rest else ""
    if not apart:
        return f"On the same queries no class is told apart between them{than}."
    told = ", ".join(f"{name} {effect_text(pair.differences[name])}" for name in apart)
    others = f"; the others are not{than}" if rest else ""
    return f"Told apart on the same queries, {pair.columns[0]} less {pair.columns[1]}: {told}{others}."


def _placebos(names: Sequence[str], columns: Sequence[SettingRow]) -> str:
    """Which placebos were run where; empty where all columns had the same."""
    own = {name: placebos_of(column) for name, column in zip(names, columns, strict=True)}
    every = list(dict.fromkeys(kind for kinds in own.values() for kind in kinds))
    where = {kind: [name for name, kinds in own.items() if kind in kinds] for kind in every}
    if all(len(there) == len(names) for there in where.values()):
        return ""
    shared = [kind for kind, there in where.items() if len(there) == len(names)]
    parts = [f"{', '.join(shared)} everywhere"] if shared else []
    parts += [f"{kind} in {_joined(there)} alone" for kind, there in where.items() if kind not in shared]
    return f"Placebos: {'; '.join(parts)}. More than every placebo means more than those that were run there."


def _claims(one: Claim | None, other: Claim | None) -> str:
    return str(one) if one == other else f"{one}, {other}"


def _sign(claim: Claim | None) -> int:
    return 1 if claim in ("helps", "raises") else -1 if claim in ("hurts", "lowers") else 0


def _joined(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
