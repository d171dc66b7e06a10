"""How often `vprdist importance` is wrong: on simulated trials whose truth is known, and how often forms' verdicts are.

    python tests/benchmarks/importance_rates.py [--worlds 500] [--only axes forms]

`axes`: designs that are crossed or not, with one seed or several, few clusters or many. For each axis its true share,
the mean share found, how often the 95 % interval holds the truth, and how often p <= 0.05 (the rate of false claims,
where the axis does nothing). `forms`: the table "In every form of the mask" of vprdist/attribution/README.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from told import tell

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.attribution.forms import Forms, all_but_one, nothing
from tests.game.designs import World, axes_of, crossed, plain_scores
from vprdist.game.axes import terms
from vprdist.game.axis_effects import chance_p
from vprdist.game.shares import shares
from vprdist.report.importance import scores_of

RESAMPLES = 499


def of_axes(worlds: int) -> None:
    full, rng = crossed(2, 3, 2), np.random.default_rng(3)
    part = crossed(3, 3, 2, 2)[rng.choice(36, 20, replace=False)]
    absent = np.array([[0, -1, 0], [0, -1, 1], *([1, form, layers] for layers in (0, 1) for form in range(3))])
    together = (full[:, 0] + full[:, 2]) % 2
    for name, codes, effects, seeds, clusters in (
        ("2x3x2, a and b matter", full, full @ [0.4, 0.2, 0.0], 3, 40),
        ("2x3x2, nothing matters", full, np.zeros(12), 3, 40),
        ("2x3x2, one seed", full, full @ [0.4, 0.2, 0.0], 1, 40),
        ("2x3x2, a and c together", full, 0.4 * together, 3, 40),
        ("2x3x2, 12 clusters", full, full @ [0.4, 0.2, 0.0], 3, 12),
        ("20 of 36 rows, one seed", part, part @ [0.4, 0.0, 0.2, 0.0], 1, 40),
        ("20 of 36 rows, 1 to 3 seeds", part, part @ [0.4, 0.0, 0.2, 0.0], rng.integers(1, 4, 20), 40),
        ("forms that masks alone have", absent, 0.4 * absent[:, 0], 3, 40),
        ("2x2, a matters", crossed(2, 2), crossed(2, 2) @ [0.3, 0.0], 3, 40),
    ):
        _one(name, codes, World(effects, np.full(len(codes), seeds), 0.1, clusters), worlds)


def _one(name: str, codes: np.ndarray, world: World, worlds: int) -> None:
    axes, rng = axes_of(codes), np.random.default_rng(1)
    means, luck = world.truth()
    weights = world.seeds_R.astype(float)
    fitted = terms(axes, weights, int(weights.sum()))
    # Twice as many trials: without luck a row of one seed would have nothing to judge by.
    rows = np.repeat(np.arange(len(means)), 2 * world.seeds_R)
    exact = shares(fitted, len(axes), plain_scores(means[rows].tolist(), rows.tolist()))
    found, p = [], []
    for number in range(worlds):
        scores = scores_of(world.panel(rng))
        found.append(shares(fitted, len(axes), scores))
        told = chance_p(fitted, len(axes), scores, found[-1].by, RESAMPLES, seed=number)
        p.append([np.nan if each is None else each for each in told])
    by_queries = np.mean([each.queries * each.sd**2 for each in found])
    truth = np.array([each.value for each in exact.axes]) * exact.sd**2 / (exact.sd**2 + luck + by_queries)
    held = [[t.low <= true <= t.high for t, true in zip(each.axes, truth, strict=True)] for each in found]
    print(name, flush=True)
    for place, axis in enumerate(axes):
        values = [each.axes[place].value for each in found]
        tell(f"{name}, {axis.title}", np.mean(values), "share", peer="the truth", theirs=truth[place])
        print(
            f"  {axis.title}: true {truth[place]:.3f}, found {np.mean(values):.3f}, interval holds "
            f"{np.mean([each[place] for each in held]):.3f}, p <= 0.05 in {(np.array(p)[:, place] <= 0.05).mean():.3f}"
        )


def of_forms(worlds: int) -> None:
    for forms in (2, 3, 6):
        ones = np.ones((forms, 4))
        for name, adds, placebo in (
            ("no effect", nothing(forms), nothing(forms)),
            ("all forms but one", all_but_one(forms), nothing(forms)),
            ("a placebo as good in one form", ones, ones - all_but_one(forms)),
            ("0.4 in every form", 0.4 * ones, nothing(forms)),
        ):
            for alike in (0.0, 0.5, 0.95, 1.0):
                seen = Forms(adds, placebo, alike).play(worlds, seed=forms)
                told = ", ".join(f"{word} {count / worlds:.3f}" for word, count in sorted(seen.items()))
                print(f"{forms} forms, {name}, alike {alike}: {told}", flush=True)
                if name == "no effect" and alike == 0.95:
                    claims = sum(seen.get(word, 0) for word in ("helps", "hurts", "raises", "lowers"))
                    what = f"{forms} forms without effect, alike {alike}, a claim"
                    tell(what, claims / worlds, "of worlds", peer="the level", theirs=0.05)


PARTS = {"axes": of_axes, "forms": of_forms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=500)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    for part in args.only:
        PARTS[part](args.worlds)


if __name__ == "__main__":
    main()
