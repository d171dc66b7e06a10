"""A trial that is trained, small, and under arms; and orders of probes of its network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.training.making import make_cache, make_trial, run_here
from tests.worlds import spread_queries, write_city, write_small_tree
from vprdist.files import append_json_line
from vprdist.prepare.prepare import prepare
from vprdist.probes.order import Probe, ProbeOrder
from vprdist.search.subset_rule import network_point
from vprdist.spec.arms import ArmsSpec
from vprdist.spec.doors import AggregatorName
from vprdist.spec.probes import How
from vprdist.spec.profile import read_profile
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import TrialSpec
from vprdist.store.manifest import Manifest
from vprdist.store.trial_folder import TrialFolder

PLAYERS = (("building", "wall"), ("pole",), ("vegetation", "terrain"))
KINDS = ("none", "random", "image", "classes")
EVERY: tuple[Probe, ...] = tuple((subset, kind) for kind in KINDS for subset in range(1, 8))
"""28 probes: a part of 16, and one of 12."""
SWEEP = """
name: tiny
trial:
  data: {{root: {root}, train: [ada], validate: [bob]}}
  input: {{mode: masked, cache: {cache}}}
  network: {{backbone: resnet18, weights: none, unfreeze: 0-2}}
  train: {{image_size: [32, 40], steps: 2, batch_pairs: 4, micro_pairs: 4, lr: 0.05, batch_norm: frozen}}
  evaluate: {{before_training: false}}
search:
  searcher: one_network
  subsets:
    groups: {{built: [building, wall], thin: [pole], green: [vegetation, terrain]}}
    placebos: [random, image, classes]
    finalists: {finalists}
seeds: {seeds}
"""


def finished_trial(folder: Path, changed: Callable[[TrialSpec], TrialSpec] = lambda trial: trial) -> Path:
    """A folder that holds a data set (`tree`), a cache, and the folder of a trial, which is over and is returned."""
    root = folder / "tree"
    write_city(root, "ada", num_query=12, num_database=20, seed=1)
    write_city(root, "bob", num_query=8, num_database=16, seed=2)
    plain = make_trial(root, make_cache(root, folder), "masked", steps=2)
    arms = ArmsSpec(players=PLAYERS, placebos=("random", "image", "classes"))
    shown = plain.input.model_copy(update={"classes": arms.class_names, "mask_reduce": "sum"})
    quick = plain.evaluate.model_copy(update={"before_training": False})
    changes = {"input": shown, "train": plain.train.model_copy(update={"arms": arms}), "evaluate": quick}
    trial = TrialSpec.model_validate(changed(plain.model_copy(update=changes)))
    place = TrialFolder.of(folder / "runs", trial.trial_id)
    place.write_trial(trial)
    run_here(trial, place.path)
    return place.path


def at_features(aggregator: str, **parameters: object) -> Callable[[TrialSpec], TrialSpec]:
    """A trial whose masks weigh the pooling."""

    def changed(trial: TrialSpec) -> TrialSpec:
        pool = AggregatorName.of(aggregator, **parameters)
        shown = trial.input.model_copy(update={"mask_at": "features"})
        return trial.model_copy(
            update={"input": shown, "network": trial.network.model_copy(update={"aggregator": pool})}
        )

    return changed


def trained_sweep(folder: Path) -> tuple[Path, Path]:
    """A sweep file of one network, and a run folder where that is trained already: its driver has 28 probes to make.

    The sweep is named `tiny`, and has no finalists.
    """
    root, runs, file = write_small_tree(folder / "tree"), folder / "runs", folder / "tiny.yaml"
    spread_queries(root, "bob")  # one cluster tells nothing, and would be refused
    file.write_text(SWEEP.format(root=root, cache=make_cache(root, folder), finalists=0, seeds=[0]))
    sweep = read_sweep(file)
    prepared = prepare(sweep, read_profile("local"), runs, lambda text: None, silent)
    network = prepared.trials[0]
    place = TrialFolder.of(runs, network.trial_id)
    place.write_trial(network)
    run_here(network, place.path)
    book = Manifest(runs / "sweeps" / "tiny", sweep, ())
    book.add(network)
    book.write()
    row = {"kind": "proposed", "trial": network.trial_id, "point": network_point(sweep, {}, 0)}
    append_json_line(book.folder / "proposals.jsonl", row)
    return file, runs


@contextmanager
def silent(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that nobody sees."""
    yield lambda done, total: None


def copied(trial: Path, runs: Path) -> Path:
    """The same trial in another run folder, without probes."""
    place = runs / "trials" / trial.name
    shutil.copytree(trial, place, ignore=shutil.ignore_patterns("probes"))
    return place


def order_of(trial: Path, probes: tuple[Probe, ...] = EVERY, how: How = "each") -> ProbeOrder:
    return ProbeOrder(trial=str(trial), players=PLAYERS, probes=probes, how=how)


def files(order: ProbeOrder) -> dict[str, tuple[bytes, int]]:
    """What lies in the folder of an order: its bytes, and when it was written."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in order.folder.iterdir()}


def values(order: ProbeOrder) -> dict[str, bytes]:
    """The bytes of each part."""
    return {path.name: path.read_bytes() for path in order.folder.glob("*.parquet")}
