"""A sweep that would cost more than its file allows is refused before anything is submitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vprdist.errors import SweepFileError
from vprdist.plan.estimate import Estimate
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.sweep import SweepSpec


@dataclass(frozen=True)
class GpuHours:
    """GPU-hours of what is still to run; `bound` when earlier results say nothing and the time limit must do."""

    hours: float
    bound: bool

    @property
    def text(self) -> str:
        """Four digits: the plan and a refusal show the same number."""
        return f"{self.hours:.4g}"


def gpu_hours(profile: ClusterProfile, estimates: Sequence[Estimate]) -> GpuHours:
    """Wall time times GPUs, summed; a trial of unknown length counts with its whole time limit."""
    gpus = profile.nodes * profile.num_node_gpus
    limit = profile.time_limit_min / 60
    hours = sum(gpus * (limit if each.hours is None else each.hours) for each in estimates)
    return GpuHours(hours, any(each.hours is None for each in estimates))


def check_budget(sweep: SweepSpec, profile: ClusterProfile, num_trials: int, estimates: Sequence[Estimate]) -> None:
    """The sweep stays within the budget of its file.

    Args:
        num_trials: every trial of the sweep, done or not.
        estimates: of those that are still to run, and of probes (`ProbeCost.estimates`).

    Raises:
        SweepFileError: it does not.
    """
    budget = sweep.budget
    if budget.trials is not None and num_trials > budget.trials:
        remedy = "Try less, or raise budget.trials."
        raise SweepFileError("budget.trials", f"the sweep must have at most {budget.trials} trials", num_trials, remedy)
    if budget.gpu_hours is not None:
        cost = gpu_hours(profile, estimates)
        if cost.hours > budget.gpu_hours:
            how = "at their time limit, since no earlier result says how long they take" if cost.bound else "estimated"
            fault = f"trials and probes still to run must take at most {budget.gpu_hours:g} GPU-hours ({how})"
            remedy = "Try less, lower time_limit_min in the profile, or raise budget.gpu_hours."
            raise SweepFileError("budget.gpu_hours", fault, float(cost.text), remedy)
