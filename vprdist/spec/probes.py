"""How networks are evaluated under many arms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from vprdist.errors import RuleError
from vprdist.spec.base import Spec

if TYPE_CHECKING:
    from vprdist.spec.trial import TrialSpec

How = Literal["each", "pooled"]
"""`each`: pictures pass the network once for each arm. `pooled`: once, and the descriptors under all arms follow from
sums over the classes' places; only where masks weigh the pooling."""


class ProbesSpec(Spec):
    """How a network is evaluated under many arms."""

    how: How = Field(
        default="each",
        description="one_network: a pass for each arm, or one for all, where masks weigh the features",
    )


def check_pooled(trial: TrialSpec) -> None:
    """Whether the descriptors under all masks of a network follow from sums.

    Raises:
        RuleError: they do not; its field is below `trial`.
    """
    network, shown = trial.network, trial.input
    remedy = "Set search.probes.how: each."
    if not network.aggregator.fact("sums"):
        fault = f"probes are pooled from sums: the aggregator {network.aggregator.title} must state `sums = True`"
        raise RuleError("network.aggregator", fault, network.aggregator.name, remedy)
    if network.attention.is_own:  # the built-in one sees features alone
        fault = "probes are pooled from features that no mask changes: an attention of your own is given the mask"
        raise RuleError("network.attention", fault, network.attention.title, remedy)
    if shown.learnt.name != "none":
        fault = "probes are pooled from sums of the classes' maps: a mask that is learnt is none"
        raise RuleError("input.learnt", fault, shown.learnt.title, remedy)
    if shown.mask_reduce == "max":
        fault = "probes are pooled from sums: the maximum of classes is none"
        raise RuleError("input.mask_reduce", fault, shown.mask_reduce, f"Use sum, or: {remedy}")
