"""Made-up attribution reports: any number of players, with and without placebos, hostile names."""

from __future__ import annotations

from vprdist.attribution.side_by_side import side_by_side, with_forms_counted
from vprdist.spec.attribution import (
    CONTROLLED,
    UNCONTROLLED,
    Agreement,
    ArmValue,
    AttributionReport,
    Cost,
    Effect,
    Flip,
    Form,
    PairRow,
    PartEffect,
    PlayerRow,
    SettingRow,
)
from vprdist.spec.vocabulary import CLASSES

HOSTILE = '<script>document.title="owned"</script> "q\' & &amp; $x_1$ \\evil{} | ünïcode 路 ' + "y" * 60


def effect(value: float, half: float | None = 0.03) -> Effect:
    if half is None:
        return Effect(value=value)
    return Effect(value=value, low=value - half, high=value + half)


def player(
    name: str, value: float, claim: str = "none", *, half: float | None = 0.03, placebos: tuple[str, ...] = ("random",),
    bound: float | None = 0.03, flips: int = 0, parts: int = 0, classes: tuple[str, ...] | None = None, **more,
) -> PlayerRow:  # fmt: skip
    return PlayerRow(
        player=name,
        classes=classes or (name,),
        adds=effect(value, half),
        placebos={each: effect(0.01 + 0.005 * i, half) for i, each in enumerate(placebos)},
        beyond={each: effect(value - 0.01 - 0.005 * i, half) for i, each in enumerate(placebos)},
        claim=claim,
        bound=bound if claim == "none" else None,
        parts=tuple(
            PartEffect(kind="city", name=f"city{i}", num_queries=100 + i, adds=effect(value, 0.06))
            for i in range(parts)
        )
        + tuple(
            PartEffect(kind="subtask", name=each, num_queries=50, adds=effect(value, None if each == "n2o" else 0.1))
            for each in ("s2w", "n2o")[:parts]
        ),
        num_gained=flips * 3 if flips else None,
        num_lost=flips if flips else None,
        flips=tuple(
            Flip(gained=i % 3 != 2, city="b", query=f"q{i}", with_player=f"d{i}", without=f"e{i}") for i in range(flips)
        ),
        **more,
    )


def setting(players, *, named=None, method="one_network", **more) -> SettingRow:
    fields = {
        "setting": named or {}, "method": method, "confidence": 0.95, "nobody": 0.012, "num_queries": 312,
        "num_clusters": 24, "num_seeds": 3, "players": tuple(players),
    } | more  # fmt: skip
    return SettingRow(**fields)


def report(*settings: SettingRow, objective: str = "recall@1") -> AttributionReport:
    return AttributionReport(objective=objective, settings=settings)


def full(count: int = 19, num_settings: int = 1, flips: int = 6, placebos=("random", "image", "classes")):
    """Classes from helpful to harmful, all that a report may hold, under settings of the usual names."""
    names = CLASSES[:count]
    settings = []
    for number in range(num_settings):
        players = []
        for i, name in enumerate(names):
            value = 0.15 - 0.01 * i - 0.002 * number
            up, down = CONTROLLED if placebos else UNCONTROLLED
            claim = up if value > 0.06 else down if value < -0.02 else "none"
            if i == count - 1 and count > 1:
                claim = "untold"
            more = {"seed_sd": 0.004 * (i + 1), "area": 0.3 / (i + 1), "confidence": None if i == 3 else 0.8}
            players.append(
                player(name, value, claim, placebos=placebos, flips=flips, parts=3, **more)
                if claim != "untold"
                else player(name, value, claim, half=None, placebos=placebos)
            )
        everybody = tuple(names)
        arms = [ArmValue(players=everybody, value=0.7, num_seeds=3, alone=0.72)]
        arms += [
            ArmValue(
                players=tuple(n for n in names if n != name), value=0.69 - i / 100, num_seeds=3,
                alone=0.6 if i % 3 else None,
            )
            for i, name in enumerate(names)
        ]  # fmt: skip
        arms += [
            ArmValue(players=arm.players, placebo=p, value=arm.value - 0.1, num_seeds=3)
            for arm in arms[:4]
            for p in placebos
        ]
        pairs = [
            PairRow(
                players=(a, b), adds=effect(0.05 - 0.004 * (i + j)),
                claim="complement" if i + j < 4 else "replace" if i + j > 21 else "none",
            )
            for i, a in enumerate(names)
            for j, b in enumerate(names)
            if i < j
        ]  # fmt: skip
        settings.append(
            setting(
                players,
                named={"input.mode": ("masked", "rgb+mask")[number % 2], "network.unfreeze": f"{number}-2"}
                if num_settings > 1
                else {"input.mode": "masked", "network.unfreeze": "0-2"},
                pairs=tuple(pairs), arms=tuple(arms), agreement=Agreement(count=12, tau=0.71, low=0.4, high=0.9),
                cost=Cost(
                    num_trials=3, train_s=12_345.0, num_probes=240, probe_s=190.0, num_finalists=3,
                    finalists_s=7200.0, on_gpu=True,
                ),
                notes=("The ranking is settled.",),
            )
        )  # fmt: skip
    return report(*settings)


def greedy() -> AttributionReport:
    taken = ("building", "pole", "traffic sign")
    arms = (
        *(ArmValue(players=taken[:n], value=0.4 + 0.1 * n, num_seeds=1) for n in range(len(taken), 0, -1)),
        ArmValue(players=("sky",), value=0.2, num_seeds=1),
    )
    return report(setting((), method="greedy", taken=taken, arms=arms, num_seeds=1, nobody=0.02))


FORMS = {
    "black": {"mask_fill": "black"}, "mean": {"mask_fill": "mean"}, "picture_mean": {"mask_fill": "picture_mean"},
    "blur": {"mask_fill": "blur"}, "noise": {"mask_fill": "noise"}, "features": {"mask_at": "features"},
}  # fmt: skip
HELPS, HURTS, NONE, UNTOLD = (0.08, "helps"), (-0.06, "hurts"), (0.01, "none"), (0.02, "untold")


def in_form(name, players, more=None, **fields) -> SettingRow:
    """A setting of one form; players: by name (value, claim). The outline is a placebo at the picture alone."""
    kinds = ("random", "image") if name == "features" else ("random", "image", "outline")
    rows = [
        player(each, value, claim, half=None if claim == "untold" else 0.02, placebos=kinds)
        for each, (value, claim) in players.items()
    ]
    keys = {f"input.{key}": value for key, value in FORMS[name].items()}
    form = Form(at="features", fill=None, reduce="sum") if name == "features" else Form(fill=name, reduce="sum")
    return setting(rows, named={**(more or {}), **keys}, form=form, **fields)


def beside(*settings: SettingRow, kept=None) -> AttributionReport:
    """The report that an attribution makes of these settings."""
    rows = with_forms_counted(settings)
    told = side_by_side(rows, kept or [None] * len(rows))
    return AttributionReport(objective="recall@1", settings=tuple(rows), side_by_side=told)


def six_forms(count: int = 10, names=tuple(FORMS)) -> AttributionReport:
    """Ten classes in six forms: all agree, signs flip, one form tells nothing, nobody claims anything, …"""
    claims = [
        [HELPS] * 6, [(0.12, "helps")] * 6, [HELPS, HELPS, HELPS, HELPS, NONE, HURTS], [HURTS] * 6, [NONE] * 6,
        [HELPS, NONE, NONE, NONE, NONE, UNTOLD], [UNTOLD] * 6, [HURTS, NONE, NONE, NONE, NONE, NONE],
        [NONE, NONE, NONE, NONE, UNTOLD, NONE], [HELPS] * 5 + [NONE],
    ]  # fmt: skip
    rows = []
    for f, name in enumerate(FORMS):
        own = {CLASSES[i]: (claims[i % 10][f][0] + 0.001 * (f - i), claims[i % 10][f][1]) for i in range(count)}
        if name in names:
            rows.append(in_form(name, own))
    return beside(*rows)
