"""Descriptors under many arms from sums over the classes of pictures (`probes.sums`), and what they retrieve."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vprdist.data.places import City
from vprdist.data.tasks import Task
from vprdist.evaluation.descriptors import Descriptors, Values, allocate, places_of
from vprdist.evaluation.evaluate import Extra, check_whitening, learning_rows, rank_subtasks, wanted_rows
from vprdist.evaluation.ranking import Ranking
from vprdist.evaluation.retrieve import Floats, Neighbours, Rows
from vprdist.network.inputs import KeptPictures, PlaceReader
from vprdist.network.model import PlaceNetwork, set_mode
from vprdist.probes.order import PART_ARMS, ProbeOrder
from vprdist.probes.sums import SOURCES, Sums, make_sums
from vprdist.semantics.placebo import other_classes
from vprdist.spec.arms import Arm
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import Placebo, Storage

GROUP_BYTES = 2**30
"""Memory for the descriptors of arms that share one reading of the sums."""
MIXED_NUMBERS = 2**20
"""Sums that are worked on at once: they stay in a core's cache."""
ASKED_AT_ONCE = 1024
"""Queries whose distances to a block are there at once: all of a large city's would take gigabytes."""


@dataclass(frozen=True)
class Asked:
    """What a network is asked under each arm.

    Attributes:
        tasks: of the trial's subtask.
        subtasks: of each subtask that has a query.
        training: cities to learn whitening on, where it is `train`.
    """

    tasks: Sequence[Task]
    subtasks: Mapping[str, Sequence[Task]]
    training: Sequence[City] = ()


@dataclass(frozen=True)
class Pooled:
    """A network whose sums are all made.

    Attributes:
        network: in evaluation mode, on its device.
        seed: the trial's, which draws other classes.
        storage: of descriptors.
    """

    network: PlaceNetwork
    sums: Sums
    seed: int
    storage: Storage = "float32"

    @property
    def group(self) -> int:
        """Arms that share one reading of the sums."""
        bytes_an_arm = self.sums.num_pictures * self.network.dimensions * np.dtype(self.storage).itemsize
        return max(1, min(PART_ARMS, GROUP_BYTES // max(1, bytes_an_arm)))

    def mix(self, arms: Sequence[Arm]) -> npt.NDArray[np.float32]:
        """(A, K): how much of each class's map is in the mask of each arm."""
        names = self.sums.classes
        out = np.zeros((len(arms), len(names)), np.float32)
        for row, arm in enumerate(arms):
            chosen = other_classes(arm.classes, self.seed, names) if arm.placebo == "classes" else arm.classes
            out[row, [names.index(name) for name in chosen]] = 1
        return out

    def descriptors(self, arms: Sequence[Arm]) -> Iterator[Descriptors]:
        """Those of each arm; they are gone with the next group of arms.

        Raises:
            UserError: sums that cannot be read.
        """
        places = places_of(self.sums.wanted)
        memory = [allocate(self.sums.num_pictures, self.network.dimensions, self.storage) for _ in range(self.group)]
        for begin in range(0, len(arms), self.group):
            some = arms[begin : begin + self.group]
            mix_AK = self.mix(some)
            for kind in dict.fromkeys(SOURCES[arm.placebo] for arm in some):
                rows = [row for row, arm in enumerate(some) if SOURCES[arm.placebo] == kind]
                self._fill([memory[row] for row in rows], mix_AK[rows], kind)
            for values, _ in zip(memory, some, strict=False):
                yield Descriptors(values, places)

    def retrieved(self, arms: Sequence[Arm], spec: EvaluateSpec, asked: Asked) -> list[Mapping[str, Ranking]]:
        """By subtask, what is retrieved under each arm. Errors as `descriptors`; whitening that cannot be learnt."""
        learning = learning_rows(spec, asked.tasks, asked.training)
        near = neighbours_on(next(self.network.parameters()).device)
        return [rank_subtasks(each, spec, learning, asked.subtasks, near) for each in self.descriptors(arms)]

    @torch.inference_mode()
    def _fill(self, out: Sequence[Values], mix_AK: npt.NDArray[np.float32], kind: Placebo) -> None:
        """The descriptors under some arms whose masks are sums of the same maps."""
        device = next(self.network.parameters()).device
        used = np.flatnonzero(mix_AK.any(axis=0))
        maps = slice(used[0], used[-1] + 1) if len(used) else slice(0, 1)  # of which nothing is copied
        mix = torch.from_numpy(np.ascontiguousarray(mix_AK[:, maps])).to(device)
        step = max(1, MIXED_NUMBERS // (len(out) * self.sums.width))
        for rows in self.sums.rows(kind):
            for begin in range(0, rows.values_KNM.shape[1], step):
                some_KnM = _tensor(rows.values_KNM[maps, begin : begin + step]).to(device)
                mixed_AnM = (mix @ some_KnM.flatten(1)).unflatten(1, some_KnM.shape[1:])
                unit_PD = self.network.from_sums(mixed_AnM.flatten(0, 1))
                unit_AnD = unit_PD.unflatten(0, mixed_AnM.shape[:2]).cpu().numpy()
                first = rows.first + begin
                for values, found in zip(out, unit_AnD, strict=True):
                    values[first : first + len(found)] = found


def pooled(
    order: ProbeOrder, network: PlaceNetwork, trial: TrialSpec, asked: Asked, kept: KeptPictures | None, *,
    turn: float, device: str, check: Callable[[], None],
) -> Callable[[Sequence[Arm]], Sequence[Mapping[str, Ranking]]]:  # fmt: skip
    """What evaluates a network under arms, after its sums are made. Args and errors as `make_sums`.

    Args:
        turn: the share of the pictures after which this process begins.
    """
    check_whitening(trial.evaluate, asked.tasks, asked.training, network.dimensions)
    set_mode(network, trial.train.batch_norm, training=False)
    reader = PlaceReader(trial, trial.evaluate.image_size or trial.train.image_size, kept)
    learning = learning_rows(trial.evaluate, asked.tasks, asked.training)
    wanted = wanted_rows(asked.tasks, learning, Extra(asked.subtasks))
    kinds = tuple(dict.fromkeys(SOURCES[placebo] for _, placebo in order.probes))
    sums = Sums(order.sums, wanted, reader.classes, width_of(network, reader.image_size), kinds)
    sums.check_room()
    blocks = int(turn * len(sums.blocks))
    make_sums(sums, network, reader, trial.run.workers, turn=blocks, device=device, check=check)
    made = Pooled(network, sums, trial.seed, trial.evaluate.storage)
    return lambda arms: made.retrieved(arms, trial.evaluate, asked)


@torch.inference_mode()
def width_of(network: PlaceNetwork, image_size: tuple[int, int]) -> int:
    """Numbers of the sums of one map: a black picture is passed through."""
    device = next(network.parameters()).device
    black, ones = (torch.zeros(1, *shape, dtype=torch.uint8, device=device) for shape in ((3, *image_size), (1, 1, 1)))
    return int(network.map_sums(black, ones).shape[2])


def neighbours_on(device: torch.device) -> Neighbours:
    """Rows that lie nearest, by the matrix products of torch: on a CPU they take a fifth of the time of FAISS'."""

    def nearest(query: Floats, block: Floats, k: int) -> tuple[Floats, Rows]:
        known_GD = torch.from_numpy(block).to(device)
        lengths_G = known_GD.square().sum(dim=1)
        apart_Qk, places_Qk = np.empty((len(query), k), np.float32), np.empty((len(query), k), np.int64)
        for begin in range(0, len(query), ASKED_AT_ONCE):
            some = slice(begin, begin + ASKED_AT_ONCE)
            asked_qD = torch.from_numpy(query[some]).to(device)
            apart_qG = torch.addmm(lengths_G, asked_qD, known_GD.T, alpha=-2)  # one matrix, and no copy of it
            near_qk, places_qk = apart_qG.topk(k, dim=1, largest=False, sorted=False)
            apart_Qk[some] = (near_qk + asked_qD.square().sum(dim=1, keepdim=True)).cpu().numpy()
            places_Qk[some] = places_qk.cpu().numpy()
        return apart_Qk, places_Qk

    return nearest


def _tensor(values: npt.NDArray[np.float32]) -> Tensor:
    """The same memory, which torch cannot mark as not to be written to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(values)
