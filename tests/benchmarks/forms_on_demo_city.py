"""Is a planted truth found in every form of the mask, and is nothing claimed where nothing is planted?

    python tests/benchmarks/forms_on_demo_city.py --runs /tmp/runs                   ten null worlds, about half an hour
    python tests/benchmarks/forms_on_demo_city.py --runs /tmp/runs --nulls 2          fewer
    python tests/benchmarks/forms_on_demo_city.py --runs /tmp/runs --placebos random outline
    python tests/benchmarks/forms_on_demo_city.py --runs /tmp/runs --steps 100 --seeds 0 1 2    trained under all arms

EfficientNet-Lite0 as ImageNet left it, or trained for some steps, is probed on demo cities in which classes are known
to tell places apart, or known not to (`tests/planting.py`). Without placebos a claim is that of an effect, the one that
is made most easily. What was run is kept in --runs and read again. One process, one core: a second one with other
worlds may run beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from told import tell

from tests.planting import FORMS, NULL, PLAYERS, TRUTH, attributed, sweep_of
from vprdist.attribution.verdict import verdicts
from vprdist.spec.attribution import SettingRow

LARGE = {"height": 96, "width": 128, "streets": 20, "query_visits": 3}
"""160 database images, and 480 queries in 60 drives: half a carrier on a thin class is a small effect."""
SIGNS = {"helps": "+", "raises": "+", "hurts": "-", "lowers": "-"}


def world(name: str, demo: Mapping[str, Any], args: argparse.Namespace) -> list[SettingRow]:
    """One world in every form, in a line each as it is found."""
    found = []
    for form in args.forms:
        with tempfile.TemporaryDirectory() as folder:
            how = "pooled" if form == "features" else "each"
            sweep = sweep_of(Path(folder), form, demo, args.placebos, how, args.steps, args.seeds)
            found.append(attributed(sweep, args.runs).settings[0])
        print(line(f"{name} | {form}", found[-1]), flush=True)
    told = {row.player: row.verdict for row in verdicts(found)}
    print(f"{name} | in every form | {' | '.join(told[name] for name in PLAYERS)}", flush=True)
    return found


def line(title: str, row: SettingRow) -> str:
    """What each player adds, its interval, and the sign that is claimed."""
    cells = []
    players = {player.player: player for player in row.players}
    for name in PLAYERS:
        adds = players[name].adds
        low, high = (f"{value:+.3f}" if value is not None else "–" for value in (adds.low, adds.high))
        cells.append(f"{adds.value:+.3f} [{low}, {high}] {SIGNS.get(players[name].claim, '')}".strip())
    return f"{title} | {' | '.join(cells)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--nulls", type=int, default=10, help="null worlds")
    parser.add_argument("--first", type=int, default=0, help="seed of the first null world")
    parser.add_argument("--only-nulls", action="store_true", help="leave the planted world out")
    parser.add_argument("--steps", type=int, default=0, help="of training under all arms")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a trained network each")
    parser.add_argument("--placebos", nargs="*", default=[], help="of each arm")
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS)
    parser.add_argument("--large", default=json.dumps(LARGE), help="keys of trial.data.demo of the planted world")
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    args.runs = args.runs.resolve()
    print(f"world | form | {' | '.join(PLAYERS)}")
    if not args.only_nulls:
        world("planted", {**json.loads(args.large), "planted": TRUTH, "seed": 2}, args)
    found = [
        world(f"null {seed}", {"planted": NULL, "seed": seed}, args)
        for seed in range(args.first, args.first + args.nulls)
    ]
    print("\nform | null worlds | with any claim")
    for place, form in enumerate(args.forms):
        claimed = sum(any(player.claim in SIGNS for player in rows[place].players) for rows in found)
        print(f"{form} | {len(found)} | {claimed}")
        tell(f"null worlds with a claim, {form}", claimed, f"of {len(found)}")
    opposed = [{row.verdict for row in verdicts(rows)} & {"helps", "hurts", "raises", "lowers"} for rows in found]
    print(f"in every form | {len(found)} | {sum(map(bool, opposed))}")


if __name__ == "__main__":
    main()
