"""What an attribution says, in words: the same ones on the terminal, the page, in Markdown and in LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vprdist.report.leaderboard import with_interval
from vprdist.report.method_words import words_of
from vprdist.spec.attribution import (
    UNCONTROLLED,
    Agreement,
    Claim,
    Cost,
    Effect,
    PairRow,
    PlayerRow,
    SettingRow,
)
from vprdist.spec.row_name import FORM_AXES, value_name
from vprdist.spec.vocabulary import FORM_WORDS

MARKS: Mapping[Claim, str] = {"helps": "▲", "hurts": "▼", "raises": "△", "lowers": "▽", "none": "–", "untold": "?"}
CLAIM_WORDS: Mapping[Claim, str] = {
    "helps": "helps", "hurts": "hurts", "raises": "raises, no control", "lowers": "lowers, no control",
    "none": "no claim", "untold": "nothing tells",
}  # fmt: skip
"""Where there is no room for `claim_text`."""
STRENGTH: Mapping[Claim, int] = {"helps": 5, "hurts": 4, "raises": 3, "lowers": 2, "none": 1, "untold": 0}
NEEDS_CONTROL: Mapping[Claim, str] = {
    "raises": '"helps" needs a control (subsets.placebos)', "lowers": '"hurts" needs a control (subsets.placebos)',
}  # fmt: skip
"""What would have to be run to say more."""
PAIR_WORDS = {
    "complement": "complement each other", "replace": "one stands in for the other", "none": "no interaction detected",
}  # fmt: skip
CLAIMED: Mapping[Claim, str] = {
    "helps": "beyond every placebo", "hurts": "less than every placebo adds", **NEEDS_CONTROL,
}  # fmt: skip
"""In the answer: what is claimed, in this order, and beside what."""
NO_CONTROL = (
    "No control was run: without placebo masks (subsets.placebos), what a class tells cannot be told from how much its "
    "mask darkens, and no class is said to help or to hurt."
)
FEW = "too few seeds or queries"
MOST_TOLD = 3
"""Claims whose numbers are in the answer; the others are named."""
SECONDS_UP_TO = 360


def effect_text(effect: Effect) -> str:
    """+0.120 [+0.080, +0.160]; a dash for an interval that nothing tells."""
    return with_interval(effect.value, bounds(effect), signed=True) + ("" if bounds(effect) else " [–]")


def bounds(effect: Effect) -> tuple[float, float] | None:
    """The interval, where there is a whole one."""
    return None if effect.low is None or effect.high is None else (effect.low, effect.high)


def level(setting: SettingRow) -> str:
    """At which intervals hold: 95 %."""
    return f"{100 * setting.confidence:g} %"


def setting_name(setting: Mapping[str, Any]) -> str:
    """`mode masked, form blur`; empty for a sweep of one setting. Keys that end alike are written whole."""
    form = "features" if setting.get(FORM_AXES[0]) == "features" else setting.get(FORM_AXES[1])
    if form in FORM_WORDS:
        setting = {**{key: value for key, value in setting.items() if key not in FORM_AXES}, "form": FORM_WORDS[form]}
    ends = [key.rpartition(".")[2] for key in setting]

    def name(key: str) -> str:
        end = key.rpartition(".")[2]
        return end if ends.count(end) == 1 else key

    return ", ".join(f"{name(key)} {value_name(key, value)}" for key, value in setting.items())


def name_of(setting: SettingRow) -> str:
    """The setting's name; where forms of the mask are varied, its form in one word."""
    keys = {key: value for key, value in setting.setting.items() if key not in FORM_AXES}
    if setting.form is not None and len(keys) < len(setting.setting):
        keys["form"] = setting.form.words
    return setting_name(keys)


def method_name(setting: SettingRow) -> str:
    """How the effects were found; an unknown method by its own name."""
    return words_of(setting.method).title


def heading(setting: SettingRow) -> str:
    """The setting and the method."""
    name = name_of(setting)
    return f"{name}: {method_name(setting)}" if name else method_name(setting)


def is_one_network(setting: SettingRow) -> bool:
    """Whether intervals hold for one very network: another seed's may answer otherwise, and nothing is claimed."""
    return setting.num_seeds == 1 and words_of(setting.method).is_one_network


def adds_name(setting: SettingRow) -> str:
    """What effects are called: those of one network are not those of its setting."""
    return "adds, this network" if is_one_network(setting) else "adds"


def adds_to(setting: SettingRow, objective: str) -> str:
    """The axis of drawn effects."""
    return f"adds to {objective}" + (" of this network" if is_one_network(setting) else "")


def form_text(setting: SettingRow) -> str:
    """`in this form`, of a setting that was run in several; else empty: its claims are of this form alone."""
    return "in this form" if setting.num_forms > 1 else ""


def claim_text(player: PlayerRow, where: str = "") -> str:
    """A claim as `PlayerRow` means it.

    Args:
        where: `form_text` of its setting.
    """
    if player.claim == "untold":
        return "nothing here tells"
    if player.claim == "none":
        none = "no effect detected" if player.bound is None else f"no effect larger than {player.bound:.3f} detected"
        return f"{none} beyond its placebos" if player.placebos else none
    word = f"{player.claim} {where}".strip()
    if player.claim in NEEDS_CONTROL:
        return f"{word}: {NEEDS_CONTROL[player.claim]}"
    return f"{word}: more than every placebo" if player.claim == "helps" else f"{word}: less than every placebo adds"


def short_claim(player: PlayerRow) -> str:
    """A claim for a narrow column; `CLAIM_KEY` says what it means."""
    if player.claim == "none" and player.bound is not None:
        return f"none > {player.bound:.3f}"
    return player.claim


def label(player: PlayerRow) -> str:
    """A claim beside a drawn interval; one that leaves zero out and claims nothing says why."""
    if player.claim == "none":
        return "not beyond placebos" if is_like_placebo(player) else "no effect detected"
    return CLAIM_WORDS[player.claim]


def claim_key(setting: SettingRow) -> str:
    """What the short claims mean, those that there are."""
    placebos = any(player.placebos for player in setting.players)
    words: dict[Claim, str] = {
        "helps": "more than every placebo",
        "hurts": "less than every placebo adds",
        **NEEDS_CONTROL,
        "none": "no effect detected" + (" beyond the placebos" if placebos else "") + "; > x: none larger than x",
        "untold": "nothing here tells",
    }
    used = {player.claim for player in setting.players}
    told = "; ".join(f"{claim}: {meaning}" for claim, meaning in words.items() if claim in used)
    return f"{form_text(setting)}, {told}" if form_text(setting) else told


def mark_key(settings: Sequence[SettingRow]) -> str:
    """What the marks mean, those that there are: `▲ helps, – no claim`; and what the hollow ones lack."""
    used = {player.claim for setting in settings for player in setting.players}
    words = ", ".join(f"{mark} {CLAIM_WORDS[claim]}" for claim, mark in MARKS.items() if claim in used)
    lacks = [text for claim, text in NEEDS_CONTROL.items() if claim in used]
    return f"{words} ({'; '.join(lacks)})" if lacks else words


def answer(setting: SettingRow, objective: str) -> str:
    """Which classes help, in one sentence: claims first, then what is not told from nothing, then what is untold.

    Where several forms of the mask were run it begins with this one's: no class is said to help in another.
    """
    said = _answer(setting, objective)
    if not form_text(setting) or setting.form is None:
        return said
    starts = said.startswith(tuple(player.player for player in setting.players))
    return f"In this form ({setting.form.words}): {said if starts else said[:1].lower() + said[1:]}"


def _answer(setting: SettingRow, objective: str) -> str:
    if words_of(setting.method).is_order:
        return _order(setting)
    if not setting.players:
        return _best_arm(setting, objective)
    by_claim = {claim: [p for p in setting.players if p.claim == claim] for claim in STRENGTH}
    parts = [text for claim in CLAIMED if (text := _claimed(by_claim[claim], objective))]
    if not parts and by_claim["none"]:
        controlled = any(player.placebos for player in setting.players)
        parts.append(f"no class was found to {'help or to hurt' if controlled else f'raise or to lower {objective}'}")
    like = [player for player in by_claim["none"] if is_like_placebo(player)]
    quiet = [player for player in by_claim["none"] if player not in like]
    if like:
        few = " and ".join(f"{p.player} ({effect_text(p.adds)})" for p in like) if len(like) < 3 else _names(like)
        verb = "changes" if len(like) == 1 else "change"
        parts.append(f"{few} {verb} {objective}, but no more than placebos do, as far as this tells{_bound(like)}")
    if quiet:
        largest = [player.bound for player in quiet if player.bound is not None]
        beyond = " beyond placebos" if all(player.placebos for player in quiet) else ""
        than = f" larger than {max(largest):.3f}" if len(largest) == len(quiet) else ""
        parts.append(f"no effect{than}{beyond} was detected for {_names(quiet)}")
    if by_claim["untold"]:
        few = "one network; another seed's may answer otherwise" if is_one_network(setting) else FEW
        parts.append(f"nothing here tells of {_names(by_claim['untold'])} ({few})")
    text = "; ".join(parts) + "."
    # A class keeps its name as it is written, at the head of a sentence too.
    return text if text.startswith(tuple(player.player for player in setting.players)) else _capital(text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def is_like_placebo(player: PlayerRow) -> bool:
    """Whether its own interval leaves zero out, and a placebo's addition is not told from it."""
    found = bounds(player.adds)
    return bool(player.claim == "none" and player.placebos and found and (found[0] > 0 or found[1] < 0))


def _claimed(players: Sequence[PlayerRow], objective: str) -> str:
    """Players of one claim: the strongest with numbers, the others by name; empty where nobody has it."""
    if not players:
        return ""
    group = sorted(players, key=lambda player: -abs(player.adds.value))
    claim = group[0].claim
    how = CLAIMED[claim]
    first, *others = [f"{player.player} ({effect_text(player.adds)})" for player in group[:MOST_TOLD]]
    if not others:
        found = effect_text(group[0].adds)
        if claim in UNCONTROLLED:
            return f"{group[0].player} {claim} {objective} ({found}; {how})"
        return f"{group[0].player} {claim} ({found} {objective}, {how})"
    strongest = f"{', '.join([first, *others[:-1]])} and {others[-1]}"
    rest = f", and by less {_names(group[MOST_TOLD:])}" if group[MOST_TOLD:] else ""
    return f"{strongest} {claim.removesuffix('s')} {objective}{rest} (each: {how})"


def _bound(players: Sequence[PlayerRow]) -> str:
    largest = [player.bound for player in players if player.bound is not None]
    return f" (none larger than {max(largest):.3f} beyond them was detected)" if len(largest) == len(players) else ""


def _names(players: Sequence[PlayerRow]) -> str:
    return ", ".join(player.player for player in players)


def _order(setting: SettingRow) -> str:
    taken = ", then ".join(setting.taken)
    return f"Taken in, in this order: {taken}." if taken else "No class was taken in."


def _best_arm(setting: SettingRow, objective: str) -> str:
    """Where nothing is said of single classes: the arm that is worth most, if arms were told."""
    if not setting.arms:
        return "No class could be measured."
    best = setting.arms[0]
    name = " + ".join(best.players) or "nobody"
    return f"No class is claimed to help or to hurt. The best arm is {name}: {objective} {best.value:.3f}."


def steps(setting: SettingRow) -> list[str]:
    """Greedy's players in order, with what the subset so far is worth where the report has that arm."""
    values = {frozenset(arm.players): arm.value for arm in setting.arms if arm.placebo is None}
    found = [values.get(frozenset(setting.taken[: count + 1])) for count in range(len(setting.taken))]
    before = [setting.nobody, *found]
    out = []
    for player, value, last in zip(setting.taken, found, before, strict=False):
        gain = "" if value is None or last is None else f" ({value - last:+.3f})"
        out.append(player if value is None else f"{player}: {value:.3f}{gain}")
    return out


def control(setting: SettingRow) -> str | None:
    """A plain word where there is no control, or not for everybody."""
    if not setting.players and setting.arms and not words_of(setting.method).is_order:
        return None  # nothing is claimed that a control could confirm
    bare = [player for player in setting.players if not player.placebos]
    if len(bare) == len(setting.players):
        return NO_CONTROL
    return f"No control was run for {_names(bare)}." if bare else None


def reading(setting: SettingRow) -> list[str]:
    """How the numbers are to be read, what one network and others agree on, what it took, and the report's notes."""
    words = words_of(setting.method)
    lines = [words.meaning] if words.meaning else []
    measured = _measured(setting)
    if words.is_order:
        lines.append(f"An order, without intervals, on {measured}.")
    elif setting.players:
        told = "Intervals and claims" if setting.is_fixed or not is_one_network(setting) else "Intervals"
        lines.append(f"{told} of all classes hold together at {level(setting)}, for {measured}.")
    else:
        lines.append(f"Values without intervals, on {measured}.")
    if setting.num_seeds > 1 and any(player.num_gained is not None for player in setting.players):
        lines.append("Queries that are gained and lost are those of the first seed's network alone.")
    if setting.nobody is not None:
        lines.append(f"Nobody at all is worth {setting.nobody:.3f}.")
    if setting.agreement is not None:
        lines.append(agreement_text(setting.agreement))
    if setting.cost is not None:
        lines.append(cost_text(setting.cost, setting.is_fixed))
    return [*lines, *setting.notes]


def _measured(setting: SettingRow) -> str:
    queries = "these queries" if setting.num_queries is None else f"these {setting.num_queries} queries"
    if setting.num_queries is not None and setting.num_clusters is not None:
        queries += f" in {_count(setting.num_clusters, 'cluster')}"
    if is_one_network(setting):
        return f"{queries} and this very network ({'nobody trained it' if setting.is_fixed else '1 seed'})"
    return f"{queries} and networks like these ({_count(setting.num_seeds, 'seed')})"


def pair_text(pair: PairRow) -> str:
    """Two players and what they do to each other."""
    return f"{pair.players[0]} and {pair.players[1]}: {PAIR_WORDS[pair.claim]}, {effect_text(pair.adds)}"


def agreement_text(found: Agreement) -> str:
    """Whether one network ranks arms as networks trained on each of them do."""
    arms = _count(found.count, "arm")
    if found.tau is None:
        return (
            f"One network and networks trained on each arm alone have {arms} in common: too few, or too alike, to "
            "say whether they agree."
        )
    limits = None if found.low is None or found.high is None else (found.low, found.high)
    word = "are not told to agree with"
    if limits is not None and limits[0] > 0:
        word = "agree with"
    elif limits is not None and limits[1] < 0:
        word = "contradict"
    tau = f"{found.tau:.2f}" + ("" if limits is None else f" [{limits[0]:.2f}, {limits[1]:.2f}]")
    return (
        f"One network's values {word} those of networks trained on each arm alone: Kendall's tau {tau} over {arms} "
        "(1: the same order, 0: unrelated)."
    )


def cost_text(cost: Cost, is_fixed: bool = False) -> str:
    """What it took; finalists apart.

    Args:
        is_fixed: nobody trained the networks.
    """
    parts = f"It took {_count(cost.num_trials, 'training')} ({_time(cost.train_s, cost)} with their evaluation)"
    if is_fixed:
        parts = f"Nothing was trained: it took {_count(cost.num_trials, 'evaluation')} ({_time(cost.train_s, cost)})"
    if cost.num_probes:
        parts += f" and {_count(cost.num_probes, 'probe')} ({_time(cost.probe_s, cost)})"
    if cost.num_finalists:
        parts += f"; {_count(cost.num_finalists, 'finalist')} apart: {_time(cost.finalists_s, cost)}"
    return f"{parts}."


def _time(seconds: float, cost: Cost) -> str:
    unit = "GPU" if cost.on_gpu else "rank"
    hours = seconds / 3600
    if seconds < SECONDS_UP_TO:
        return f"{seconds:.0f} {unit}-seconds"
    return f"{hours:,.0f} {unit}-hours" if hours >= 100 else f"{hours:.3g} {unit}-hours"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
