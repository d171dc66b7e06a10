"""One network under many arms: each to the bit what an evaluation through that arm's mask alone finds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import warm
from tests.evaluation.arms import ARMS, described, evaluated
from tests.training.making import CPU, make_cache, make_trial
from tests.worlds import write_city
from vprdist.data.images import Loader
from vprdist.data.layouts.msls import read_city
from vprdist.data.tasks import build_tasks
from vprdist.errors import DataError, TrainingError
from vprdist.evaluation.descriptors import describe_arms
from vprdist.evaluation.evaluate import Extra, evaluate_arms
from vprdist.network.inputs import KeptPictures, PlaceReader
from vprdist.network.model import build_network
from vprdist.semantics.placebo import other_classes
from vprdist.spec.arms import Arm, ArmsSpec
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.trial import RunSpec, TrialSpec

REPO = Path(__file__).resolve().parents[2]
PLAYERS = (("building",), ("pole",), ("sky",))


def arm_trial(root: Path, cache: Path, mode: str = "masked") -> TrialSpec:
    plain = make_trial(root, cache, mode, steps=0)
    shown = plain.input.model_copy(update={"classes": ("building", "pole", "sky"), "mask_reduce": "sum"})
    if mode == "rgb+mask":  # filters that start at zero would show no mask
        shown = shown.model_copy(update={"conv1_init": "random"})
    train = plain.train.model_copy(update={"arms": ArmsSpec(players=PLAYERS, placebos=("random", "image", "classes"))})
    return TrialSpec.model_validate(plain.model_copy(update={"input": shown, "train": train, "seed": 3}))


def alone(trial: TrialSpec, arm: Arm) -> TrialSpec:
    """The trial of a network that is shown this arm and no other."""
    shown = trial.input.model_copy(update={"classes": arm.classes, "placebo": arm.placebo})
    train = trial.train.model_copy(update={"arms": None})
    return TrialSpec.model_validate(trial.model_copy(update={"input": shown, "train": train}))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As the ranks have it; more would only wait for each other on pictures this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def cache(small_tree: Path, tmp_path: Path) -> Path:
    return make_cache(small_tree, tmp_path)


@pytest.mark.parametrize("mode", ["masked", "rgb+mask"])
def test_each_arm_is_to_the_bit_what_the_trial_with_that_mask_is(small_tree: Path, cache: Path, mode: str) -> None:
    trial = arm_trial(small_tree, cache, mode)
    several = described(trial, ARMS, CPU)
    for arm, found in zip(ARMS[:-1], several, strict=False):
        (own,) = described(alone(trial, arm), None, CPU)
        assert np.array_equal(found.values_ND, own.values_ND), arm
    values = [each.values_ND for each in several]
    for i, one in enumerate(values):
        assert not any(np.array_equal(one, other) for other in values[:i]), f"{ARMS[i]} shows something of its own"


def test_nobody_is_a_mask_of_zeros(small_tree: Path, cache: Path) -> None:
    """In rgb+mask the picture stays; where the mask multiplies it, every picture is black, and all are the same."""
    both = arm_trial(small_tree, cache, "rgb+mask")
    network, side = build_network(both, None), read_city(small_tree, "bob").query
    rows = np.arange(len(side))
    reader = PlaceReader(both, (32, 40))
    nobody, someone = describe_arms(network.eval(), reader, [(side, rows)], [Arm(()), Arm(("pole",))], CPU)
    pictures = torch.stack([reader.read(side, row)[0] for row in rows.tolist()])
    with torch.inference_mode():
        slow = network(pictures.contiguous(memory_format=torch.channels_last), torch.zeros(len(rows), 1, 16, 20))
    assert np.allclose(nobody.values_ND, slow.numpy(), atol=1e-6)
    assert not np.allclose(nobody.values_ND, someone.values_ND, atol=1e-3)
    _, extra = reader.read_arms(side, 0, [Arm(()), Arm((), "classes"), Arm((), "random")])
    assert extra.shape == (3, 16, 20) and not extra.any()
    masked = arm_trial(small_tree, cache)
    (black,) = describe_arms(
        build_network(masked, None).eval(), PlaceReader(masked, (32, 40)), [(side, rows)], [Arm(())], CPU
    )
    assert np.allclose(black.values_ND, black.values_ND[0], atol=1e-6)


def test_an_arm_of_the_reader_is_the_mask_that_the_cache_holds(small_tree: Path, cache: Path, tmp_path: Path) -> None:
    trial, side = arm_trial(small_tree, cache), read_city(small_tree, "bob").database
    stored = np.load(tmp_path / "npz" / "bob_database.npz")["activations"].astype(int)
    reader = PlaceReader(trial, (32, 40))
    image, masks = reader.read_arms(
        side, 4, [Arm(("building", "sky")), Arm(("sky",), "classes"), Arm(("pole",), "image")]
    )
    from vprdist.spec.vocabulary import CLASSES

    (other,) = other_classes(("sky",), trial.seed)
    assert np.array_equal(masks[0].numpy(), stored[4, 2] + stored[4, 10])
    assert np.array_equal(masks[1].numpy(), stored[4, CLASSES.index(other)])
    assert sum(np.array_equal(masks[2].numpy(), stored[row, 5]) for row in range(len(side)) if row != 4) == 1
    assert torch.equal(image, reader.read(side, 4)[0])


def test_pictures_are_decoded_once_for_all_arms(small_tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vprdist.network import inputs

    read: list[Path] = []
    loader_of = inputs.loader_of

    def noting(computation: int) -> Loader:
        load = loader_of(computation)
        return lambda path, *size: read.append(path) or load(path, *size)

    monkeypatch.setattr(inputs, "loader_of", noting)
    described(arm_trial(small_tree, cache), ARMS, CPU)
    assert len(read) == len(set(read)) == 24


def test_workers_and_kept_pictures_change_nothing_and_progress_counts_pictures_times_arms(
    small_tree: Path, cache: Path
) -> None:
    trial, some = arm_trial(small_tree, cache), ARMS[1:3]
    tasks = build_tasks([read_city(small_tree, "bob")], trial)
    found, said = [], []
    for run in ({}, {"workers": 2}, {"keep_mb": 0}):
        each = trial.model_copy(update={"run": RunSpec(**run)})
        torch.manual_seed(0)
        kept = KeptPictures(each, [side for task in tasks for side, _ in task.sides], (32, 40))
        network = build_network(each, None)
        found.append(evaluate_arms(network, each, tasks, some, CPU, lambda *words: said.append(words), kept=kept))
        assert said[-1] == ("descriptors", 24 * 2, 24 * 2)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert one.metrics == two.metrics and one.ranking.predictions == two.ranking.predictions


def test_an_evaluation_is_that_of_the_arm_alone_and_learns_its_whitening_on_it(small_tree: Path, cache: Path) -> None:
    trial = arm_trial(small_tree, cache)
    evaluate_by = EvaluateSpec(whitening="database", dimensions=(4,), image_size=(32, 40))
    trial, some = trial.model_copy(update={"evaluate": evaluate_by}), (ARMS[0], ARMS[3])
    for arm, found in zip(some, evaluated(trial, some, CPU), strict=True):
        (own,) = evaluated(alone(trial, arm), None, CPU)
        assert found.metrics == own.metrics, arm
        assert found.ranking.predictions == own.ranking.predictions, arm
        assert [each.ranking.metrics for each in found.variants] == [each.ranking.metrics for each in own.variants]


def test_what_cannot_be_read_or_is_not_finite_is_one_message(small_tree: Path, cache: Path) -> None:
    trial = arm_trial(small_tree, cache)
    tasks = build_tasks([read_city(small_tree, "bob")], trial)
    network = build_network(trial, None)
    calls: list[int] = []

    def spoil(module, inputs, output):
        calls.append(1)
        return output * float("nan") if len(calls) == 3 else output

    handle = network.pool.register_forward_hook(spoil)
    with pytest.raises(TrainingError, match=r"bob/\w+ bob_\w+: descriptors must be finite"):
        evaluate_arms(network, trial, tasks, ARMS, CPU)
    handle.remove()
    (small_tree / "train_val/bob/query/images/bob_q000.jpg").unlink()
    with pytest.raises(DataError, match=r"bob_q000\.jpg: the picture is missing"):
        evaluate_arms(network, trial, tasks, ARMS, CPU, extra=Extra())


@pytest.mark.slow
def test_two_gloo_ranks_describe_arms_as_one_does(tmp_path: Path) -> None:
    """Enough pictures for several batches a rank, and a last turn that does not reach every rank."""
    root = tmp_path / "tree"
    write_city(root, "ada", num_query=4, num_database=6, seed=1)
    write_city(root, "bob", num_query=12, num_database=70, seed=2)
    trial = arm_trial(root, make_cache(root, tmp_path))
    (tmp_path / "trial.json").write_text(json.dumps(trial.to_json()))
    expected = described(trial, ARMS, CPU)
    command = [sys.executable, "-m", "tests.evaluation.arms", str(tmp_path / "trial.json"), str(tmp_path)]
    ranks = [warm.Popen([*command, str(rank), "2"], cwd=REPO) for rank in range(2)]
    assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    for number, each in enumerate(expected):
        assert np.array_equal(np.load(tmp_path / f"{number}.npy"), each.values_ND), ARMS[number]
