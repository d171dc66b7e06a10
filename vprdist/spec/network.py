"""The network of a trial: its parts by name, what of it is trained, where it starts."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, model_validator

from vprdist.errors import RuleError, nearest
from vprdist.spec.base import Names, Spec, marked
from vprdist.spec.doors import GEMS, AggregatorName, AttentionName, BackboneName
from vprdist.spec.old_spellings import move_parameter, old_spelling
from vprdist.spec.vocabulary import WEIGHTS, trained_units

RESNET50, NO_ATTENTION, GEM = BackboneName.of("resnet50"), AttentionName.of("none"), AggregatorName.of("gem")


class NetworkSpec(Spec):
    """Backbone, the units that are trained, attention, the aggregator, initial weights.

    Initial weights are a word or a checkpoint: one of the public GCL release, or `checkpoint/last.pt` of a trial. Its
    path is not hashed: its content is, as one of the trial's digests. It holds the aggregator's parameters as well. A
    model of timm's may also have its own state dict. A network of a file or of torch.hub has its own weights.
    """

    backbone: BackboneName = Field(default=RESNET50, description="pictures to features, in ordered units")
    unfreeze: str | Names = Field(
        default="0-2",
        description="the units that are trained: the first X and the last Y, all, or a list of units; of a model of "
        "timm's X-Y counts its stem and its stages or blocks",
        json_schema_extra=marked(words=("all",), other="X-Y"),
    )  # fmt: skip
    weights: str = Field(
        default="imagenet", description="initial weights",
        json_schema_extra=marked(words=WEIGHTS, other="the path of a checkpoint"),
    )  # fmt: skip
    attention: AttentionName = Field(default=NO_ATTENTION, description="features to features, behind units")
    aggregator: AggregatorName = Field(default=GEM, description="features to one descriptor")
    gem_p: float | None = old_spelling("aggregator.p")

    @model_validator(mode="after")
    def _old(self) -> NetworkSpec:
        move_parameter(self, "gem_p", "aggregator", "p")
        return self

    @model_validator(mode="after")
    def _known(self) -> NetworkSpec:
        if self.backbone.is_own and not self.units:
            fault = f'the class {self.backbone.title} must name its units: units = ("stem", "body")'
            raise RuleError("backbone", fault, self.backbone.fact("units"), "Write them as a plain tuple in its body.")
        if (impossible := self.layers_fault) is not None and not self._may_stay_whole:
            raise impossible
        for field, chosen in (("attention.at", self.attention.at), ("aggregator.at", self.aggregator.at)):
            for name in chosen:
                if name not in self.units:
                    whole = "Attention stands behind a model of timm's as a whole: delete the key."
                    remedy = whole if self.backbone.fact("parts") else nearest(name, self.units)
                    raise RuleError(field, f"{self.backbone.title} has no such unit", name, remedy)
            if len(set(chosen)) != len(chosen):
                raise RuleError(field, "a unit is named twice", list(chosen))
        return self

    @model_validator(mode="after")
    def _reaches(self) -> NetworkSpec:
        attention, pool = self.attention, self.aggregator
        for name, known in (("answers", ("features", "factor")), ("activations", ("", "training"))):
            if attention.fact(name) not in known:
                fault = f"the class {attention.title} must state `{name}` as {known[-1]}, or not at all"
                raise RuleError("attention", fault, attention.fact(name), "Mend it, or delete the line.")
        by_itself = pool.normalises == "within" and not pool.fact("weighs")
        if by_itself and attention.fact("answers") == "factor" and attention.parameters.get("order") != "published":
            fault = (
                f"the aggregator {pool.title} divides features by their length at each place, and takes no weights: "
                "attention, a factor of each place, would cancel"
            )
            raise RuleError("attention", fault, attention.title, "Use gem, multi_scale_gem or netvlad.")
        return self

    @property
    def divides_out(self) -> str | None:
        """Why attention changes no descriptor: its factor of each place goes with the features' length (methods.md,
        A0); None: it does, or there is none."""
        attention, pool = self.attention, self.aggregator
        if attention.fact("answers") == "factor" and attention.parameters.get("order") == "published":
            return f"attention {attention.title} as published goes with the features' length (order: works keeps it)"
        if self.pools and pool.normalises and attention.fact("factors") and self.attended == self.units[-1:]:
            return (
                f"the aggregator {pool.name} divides features by their length at each place, and with it the factor of "
                f"attention {attention.name} behind the last unit (an earlier unit keeps it)"
            )
        return None

    @property
    def units(self) -> Names:
        """The backbone's units, input side first."""
        return self.backbone.units

    @property
    def attended(self) -> Names:
        """The units behind which attention stands, in the backbone's order."""
        if self.attention.name == "none":
            return ()
        finest = self.scales[:1] if self.attention.fact("answers") == "factor" else ()
        chosen = self.attention.at or finest or self.units[-1:]
        return tuple(name for name in self.units if name in chosen)

    @property
    def scales(self) -> Names:
        """The units whose features are pooled, in the backbone's order; empty: the last one's, as most have it."""
        if not (self.pools and self.aggregator.fact("scales")):
            return ()
        chosen = self.aggregator.at or self.units[-2:]
        return tuple(name for name in self.units if name in chosen)

    @property
    def layers_fault(self) -> RuleError | None:
        """Why the backbone cannot have this set of trained units."""
        if self._parts is not None:
            return None  # how many parts there are, the model says when it is made
        try:
            trained_units(self.units, self.unfreeze, self.backbone.title)
        except ValueError as error:
            return RuleError("unfreeze", f"impossible layer set: {error}", self.unfreeze_name)
        return None

    @property
    def _may_stay_whole(self) -> bool:
        """Whether the default of `unfreeze` is left alone: a network of one unit may be one that nobody trains."""
        return len(self.units) == 1 and self.unfreeze == type(self).model_fields["unfreeze"].default

    @property
    def _parts(self) -> tuple[int, int] | None:
        """How many parts of its unit are trained, of both sides; None: whole units are."""
        counted = re.fullmatch(r"(\d+)-(\d+)", self.unfreeze) if isinstance(self.unfreeze, str) else None
        return (int(counted[1]), int(counted[2])) if counted and self.backbone.fact("parts") else None

    @property
    def trained(self) -> Names:
        """The units that are trained, in the backbone's order; none of a network that cannot be. A unit of which parts
        are trained is one of them."""
        if self._parts is not None:
            return self.units if any(self._parts) else ()
        return self.at_rest

    @property
    def layers(self) -> Names:
        """What is trained, told from every other layer set: units, or how many parts of one."""
        if self._parts is None or not any(self._parts):
            return self.trained
        first, last = self._parts
        return tuple(f"{unit} {first}-{last}" for unit in self.units)

    @property
    def at_rest(self) -> Names:
        """The trained units where no unit has parts; it identifies networks that nobody trains."""
        try:
            units = trained_units(self.units, self.unfreeze, self.backbone.title)
        except ValueError:
            return ()
        return units if self.backbone.fact("trains") else ()

    @property
    def pools(self) -> bool:
        """Whether an aggregator makes descriptors of features; some networks answer with descriptors themselves."""
        return self.backbone.answers == "features"

    @model_validator(mode="after")
    def _fixed(self) -> NetworkSpec:
        backbone = self.backbone
        if backbone.answers not in ("features", "descriptors"):
            fault = f"the class {backbone.title} must answer with features or descriptors"
            raise RuleError("backbone", fault, backbone.answers, 'Write answers = "descriptors" in its body.')
        beside = {"attention": (self.attention, NO_ATTENTION), "aggregator": (self.aggregator, GEM)}
        for field, (chosen, default) in beside.items():
            if not self.pools and chosen != default:
                fault = f"{backbone.title} answers with descriptors, which no {field} can be given"
                remedy = "Delete the key, or state `answers: features` where it gives some."
                raise RuleError(field, fault, chosen.title, remedy)
        if not backbone.is_own and not backbone.fact("trains") and self.weights != "imagenet":
            fault = f"a network of {backbone.name} has the weights that it comes with, and no others"
            raise RuleError("weights", fault, self.weights, "Delete the key.")
        return self

    @model_validator(mode="after")
    def _start(self) -> NetworkSpec:
        if self.checkpoint is None:
            return self
        if not set(self.weights) & {"/", "."}:
            remedy = f"{nearest(self.weights, WEIGHTS)} A file in this folder: ./{self.weights}."
            raise RuleError("weights", "weights must be a word or the path of a checkpoint", self.weights, remedy)
        pool, usual = self.aggregator, GEM.parameters
        if pool.name in GEMS and pool.parameters != usual and not self.backbone.fact("elsewhere"):
            fault = "p cannot be chosen: the checkpoint of network.weights holds the p of GeM"
            raise RuleError("aggregator.p", fault, self.aggregator.parameters["p"], "Delete the key.")
        return self

    @property
    def checkpoint(self) -> str | None:
        """The path of the checkpoint that training starts from; None for a word."""
        return None if self.weights in WEIGHTS else self.weights

    def hashed(self) -> dict[str, Any]:
        """As every spec; a checkpoint's path says nothing of what it holds. Before there were choices, networks without
        attention, and with GeM, were hashed as they still are."""
        out = {**super().hashed(), **({} if self.checkpoint is None else {"weights": "checkpoint"})}
        if self.attention.name == "none":
            del out["attention"]
        if not self.pools:
            del out["aggregator"]
        elif self.aggregator.name == "gem":
            del out["aggregator"]
            out["gem_p"] = self.aggregator.parameters["p"]
        return out

    @property
    def unfreeze_name(self) -> str:
        return self.unfreeze if isinstance(self.unfreeze, str) else "+".join(self.unfreeze)
