"""A trial: one fully resolved experiment. Its id is the hash of what it is, never of where or how it runs."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError, model_validator

from vprdist.errors import RuleError, nearest
from vprdist.files import digest_json
from vprdist.spec.base import Names, Spec, hashed_unless, marked, not_hashed
from vprdist.spec.computation import COMPUTATION, FIRST
from vprdist.spec.data import DataSpec
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.findings import finding_of
from vprdist.spec.input import InputSpec
from vprdist.spec.named import Named
from vprdist.spec.network import NetworkSpec
from vprdist.spec.program import ProgramSpec, check_params
from vprdist.spec.shares import share_counts
from vprdist.spec.train import TrainSpec


class Digests(Spec):
    """What the trial's inputs are, by content, and which computation makes its numbers of them.

    `prepare.resolve` fills it in before the trial is hashed.
    """

    dataset: str
    cache: str | None
    weights: str
    labels: str | None = hashed_unless(
        None,
        description="of official label files, and which cities take distance alone, or their truth; null: all are "
        "computed",
    )
    code: dict[str, str] | None = hashed_unless(None, description="of the files of a user's own classes, by their key")
    computation: int = hashed_unless(FIRST, ge=1, description="see `spec.computation`")


class RunSpec(Spec):
    """How a trial runs on its machine. Never hashed."""

    workers: int = Field(default=0, ge=0, description="data loader processes per rank")
    keep_mb: int = Field(default=512, ge=0, description="decoded pictures that a rank keeps in memory, in megabytes")
    store_gb: float = Field(
        default=4.0, ge=0, description="resized pictures that the run folder keeps for all jobs, in gigabytes; 0: none"
    )
    compile: bool = Field(default=False, description="compile the network with torch.compile")
    tensorboard: bool = Field(default=False, description="also write metrics for TensorBoard (extra `tensorboard`)")
    checkpoint_s: float = Field(default=300.0, gt=0, description="seconds between periodic checkpoints")
    log_steps: int = Field(default=5, ge=1, description="steps between two lines of metrics")
    evaluate_steps: int | None = Field(default=None, ge=1, description="also evaluate every so many steps")


def _choices() -> dict[tuple[str, ...], type[Named]]:
    """The keys of named choices, found in the sections of a trial."""
    sections: dict[str, type[Spec]] = {
        "data": DataSpec,
        "input": InputSpec,
        "network": NetworkSpec,
        "train": TrainSpec,
        "evaluate": EvaluateSpec,
    }
    return {
        (section, name): field.annotation
        for section, model in sections.items()
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Named)
    }


CHOICES = _choices()
"""By its path below `trial`, every named choice."""


class TrialSpec(Spec):
    """One experiment. With `digests` set it is fully resolved and has an id."""

    data: DataSpec = DataSpec()
    input: InputSpec = InputSpec()
    network: NetworkSpec = NetworkSpec()
    train: TrainSpec = TrainSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    job: ProgramSpec | None = hashed_unless(
        None, description="a program of your own in the place of vprdist's training; null: vprdist trains"
    )
    params: dict[str, Any] = hashed_unless(
        {}, description="what your own program reads: any keys, any values; `params.lr` may be an axis",
        json_schema_extra=marked(key="parameter of a program"),
    )  # fmt: skip
    seed: int = Field(default=0, ge=0, le=2**31 - 1, json_schema_extra=marked(in_files=False))
    digests: Digests | None = Field(default=None, json_schema_extra=marked(in_files=False))
    run: RunSpec = not_hashed(RunSpec())

    @model_validator(mode="after")
    def _programmed(self) -> TrialSpec:
        check_params(self.params)
        if self.params and self.job is None:
            fault = "parameters are for a program of your own, and there is none"
            remedy = "Name it (trial.job.command, trial.job.function), or write keys of trial.train, trial.network, …"
            raise RuleError("params", fault, list(self.params), remedy)
        return self

    @model_validator(mode="after")
    def _trainable(self) -> TrialSpec:
        backbone = self.network.backbone
        if self.train.steps and not backbone.fact("trains"):
            fault = f"{backbone.title}, a network that is trained already, cannot be trained here"
            raise RuleError("train.steps", fault, self.train.steps, "Set trial.train.steps: 0.")
        if self.train.steps and (impossible := self.network.layers_fault) is not None:
            remedy = "Set trial.network.unfreeze: all, or trial.train.steps: 0."
            raise RuleError("network.unfreeze", impossible.fault, impossible.value, remedy)
        return self

    @property
    def picture_size(self) -> tuple[int, int]:
        """(height, width) of the pictures that the network is built for: those that it trains on, if it does."""
        return self.train.image_size if self.train.steps else self.evaluate.image_size or self.train.image_size

    @model_validator(mode="after")
    def _armed(self) -> TrialSpec:
        arms, shown = self.train.arms, self.input
        if arms is None:
            return self
        if shown.learns_mask:
            fault = "a mask that is learnt cannot stand beside train.arms, which are masks of chosen classes"
            raise RuleError("input.learnt", fault, shown.learnt.title, "Delete one of the two.")
        if not shown.uses_mask:
            remedy = "Set trial.input.mode: masked (or rgb+mask)."
            raise RuleError("input.mode", "arms are masks: the mode must be masked or rgb+mask", shown.mode, remedy)
        if shown.mask_reduce == "mean":
            fault = "arms of different size must be compared by sum or max: a mean darkens the picture by their number"
            raise RuleError("input.mask_reduce", fault, "mean", "Set trial.input.mask_reduce: sum.")
        if shown.placebo != "none":
            raise RuleError(
                "input.placebo",
                "a placebo cannot be named beside train.arms, which names them",
                shown.placebo,
                "Delete the key.",
            )
        if "outline" in arms.placebos and not shown.has_outline:
            fault = (
                "no outline can be shown: the mask hides nothing of the picture (mode rgb+mask, or mask_at features)"
            )
            raise RuleError("train.arms.placebos", fault, list(arms.placebos), "Delete it.")
        if shown.class_table != arms.class_table:
            fault = "input.class_table must be that of train.arms"
            raise RuleError("input.class_table", fault, shown.table.words, "Delete train.arms.class_table.")
        if shown.class_names != arms.class_names:
            fault = "input.classes must be those of all players of train.arms"
            raise RuleError("input.classes", fault, list(shown.class_names), f"Write {list(arms.class_names)}.")
        return self

    @model_validator(mode="after")
    def _weighed(self) -> TrialSpec:
        pool = self.network.aggregator
        if self.input.at_features and not self.network.pools:
            fault = f"{self.network.backbone.title} answers with descriptors: there are no features for a mask to weigh"
            raise RuleError("input.mask_at", fault, "features", "Set trial.input.mask_at: picture.")
        if self.input.at_features and not pool.fact("weighs"):
            fault = f"at the features a mask must weigh the pooling, and the aggregator {pool.title} takes no weights"
            ours = ", ".join(name for name, each in pool.door.built_in.items() if each.facts.get("weighs"))
            remedy = f"Use {ours}, or `weighs = True` in the body of a class of your own that takes `weights`."
            raise RuleError("input.mask_at", fault, self.input.mask_at, remedy)
        if pool.fact("needs_mask") and self.network.pools and not self.input.at_features:
            fault = f"the aggregator {pool.title} weighs places by a mask, and none is at the features"
            remedy = "Set trial.input.mode: masked and trial.input.mask_at: features, or use another aggregator: gem."
            raise RuleError("network.aggregator", fault, f"mode {self.input.mode}", remedy)
        return self

    def size_fault(self, size: tuple[int, int] | None) -> RuleError | None:
        """Why its network cannot be shown pictures of another size than it is built for; None: it can."""
        pool = self.network.aggregator
        if size in (None, self.picture_size) or not self.network.pools or "places" not in pool.fact("asks"):
            return None
        fault = "the aggregator {} must be shown pictures of the size that it is made for, {}x{}"
        remedy = "Leave the size out, or use an aggregator that takes any."
        return RuleError("evaluate.image_size", fault.format(pool.title, *self.picture_size), list(size or ()), remedy)

    @model_validator(mode="after")
    def _sized(self) -> TrialSpec:
        if (impossible := self.size_fault(self.evaluate.image_size)) is not None:
            raise impossible
        return self

    @model_validator(mode="after")
    def _seeded(self) -> TrialSpec:
        pool = self.network.aggregator
        for field in ("centre_classes", "shadow_classes") if pool.name == "sralnet" else ():
            for name in pool.parameters[field]:
                self.input.table.check_class(f"network.aggregator.{field}", name)
        return self

    @model_validator(mode="after")
    def _reranks(self) -> TrialSpec:
        chosen = self.evaluate.rerank
        if chosen.top is None:
            return self
        if not self.network.pools:
            fault = f"{self.network.backbone.title} answers with descriptors: there are no local features to compare"
            raise RuleError("evaluate.rerank", fault, chosen.title, "Delete the key.")
        if self.train.arms is not None:
            fault = "a network that is asked under many masks (one_network) cannot have a second stage"
            raise RuleError("evaluate.rerank", fault, chosen.title, "Delete the key.")
        return self

    @model_validator(mode="after")
    def _rejects(self) -> TrialSpec:
        attention = self.network.attention
        checks = self.taught and not attention.is_own
        for name in attention.parameters.get("rejected", ()) if checks else ():
            self.input.table.check_class("network.attention.rejected", name)
        return self

    @model_validator(mode="after")
    def _learns(self) -> TrialSpec:
        if self.input.learns_mask and not self.train.steps:
            fault = "a mask cannot be learnt where nothing is trained (train.steps: 0): it would show everything"
            raise RuleError("input.learnt", fault, self.input.learnt.title, "Train some steps, or delete the key.")
        return self

    @property
    def choices(self) -> dict[str, Named]:
        """Every named choice, by its dotted key."""
        return {f"{section}.{name}": getattr(getattr(self, section), name) for section, name in CHOICES}

    @property
    def _taught(self) -> tuple[Named, ...]:
        """Attention and aggregator, where they need the activations of training pictures."""
        network, trains = self.network, self.train.steps > 0
        begins = network.checkpoint is None or network.backbone.fact("elsewhere")
        wanted = {"training": trains, "start": begins, "": False}
        return tuple(each for each in (network.attention, network.aggregator) if wanted[each.fact("activations")])

    @property
    def taught(self) -> bool:
        """Whether training is given the activations of all classes beside each picture, whatever the mode."""
        return any(each.fact("activations") == "training" for each in self._taught)

    @property
    def needs_cache(self) -> bool:
        """Whether it reads activations: its mode does, or what is taught by them."""
        return self.input.needs_cache or bool(self._taught)

    @property
    def who_needs_cache(self) -> str:
        """What reads them, for messages."""
        if self.input.needs_cache or not self._taught:
            return f"mode {self.input.mode}"
        return f"the {self._taught[0].door.word} {self._taught[0].title}"

    @property
    def cached_cities(self) -> Names:
        """The cities whose activations are read: only what is trained on teaches."""
        if self.input.needs_cache:
            return self.cities
        return tuple(dict.fromkeys(self.data.train)) if self.needs_cache else ()

    @property
    def measured_cities(self) -> Names:
        """Those of them that make its result, for the cache's digest."""
        return (*self.data.train, *self.data.validate_cities) if self.input.needs_cache else self.cached_cities

    @property
    def measures_itself(self) -> bool:
        """Whether its program leaves numbers of its own: no data set and no protocol of vprdist's has a part in it."""
        return self.job is not None and self.job.leaves == "result"

    @property
    def trained_steps(self) -> int | None:
        """Steps that it trains for; None: a program that does not say it."""
        return self.train.steps if self.job is None else self.job.steps

    @property
    def unread(self) -> Names:
        """The sections that a program of the user's own has no use for."""
        if self.job is None:
            return ()
        return ("input", "network", "train") + (("data", "evaluate") if self.measures_itself else ())

    @property
    def own_code(self) -> dict[str, Named]:
        """Those of them that are a user's own classes."""
        return {key: named for key, named in self.choices.items() if named.is_own}

    @property
    def undigested(self) -> TrialSpec:
        """This trial with null where the mode ignores a field, and named units: what is told before there are digests.
        Two that are equal are one experiment."""
        if self.job is not None:
            fields = type(self).model_fields
            return self.model_copy(update={"digests": None, **{name: fields[name].default for name in self.unread}})
        units = self.network.trained
        evaluate = self.evaluate.model_copy(update={"image_size": self.evaluate.image_size or self.train.image_size})
        name = self.network.unfreeze
        network = self.network.model_copy(update={"unfreeze": name if isinstance(name, str) else units})
        changes = {
            "input": self.input.resolved(self.needs_cache),
            "network": network,
            "train": self.train.resolved(),
            "evaluate": evaluate,
            "digests": None,
        }
        return self.model_copy(update=changes)

    def resolved(self, digests: Digests) -> TrialSpec:
        """As `undigested`, with its digests."""
        if self.job is not None:
            own = {"job": self.job.digest()}
            return self.undigested.model_copy(update={"digests": digests.model_copy(update={"code": own})})
        code = {key: named.digest for key, named in self.own_code.items()} or None
        return self.undigested.model_copy(update={"digests": digests.model_copy(update={"code": code})})

    @property
    def cities(self) -> Names:
        """Every city whose pictures are read: to train, to validate, to predict."""
        measured = (*self.data.train, *self.data.validate_cities)
        return (*measured, *(name for name in self.evaluate.predict if name not in measured))

    @model_validator(mode="after")
    def _shared(self) -> TrialSpec:
        shares, drawn = self.data.shares, self.train.chunk_queries
        if not shares or not self.train.steps:
            return self
        for (name, share), count in zip(shares.items(), share_counts(list(shares.values()), drawn), strict=True):
            if not count:
                fault = f"each share of training must draw a query of every chunk of {drawn}, and this draws none"
                raise RuleError(f"data.shares.{name}", fault, share, "Raise it, or trial.train.chunk_queries.")
        return self

    @model_validator(mode="after")
    def _asked_sets(self) -> TrialSpec:
        if (impossible := self.set_fault()) is not None:
            raise impossible
        return self

    def set_fault(self) -> RuleError | None:
        """Why a data set cannot be evaluated as `evaluate.of_set` says; None: each can."""
        known = tuple(dict.fromkeys(filter(None, map(self.data.layout.set_of, self.data.validate_cities))))
        for name in self.evaluate.of_set:
            if not known:
                fault = "only the layout mixed has data sets that can be evaluated otherwise"
                remedy = "Delete the key, and write what differs into trial.evaluate."
                return RuleError("evaluate.of_set", fault, self.data.layout.title, remedy)
            if name not in known:
                fault = "a data set that is evaluated otherwise must be one of trial.data.validate"
                return RuleError(f"evaluate.of_set.{name}", fault, name, nearest(name, known))
            try:
                self.evaluate.on(name)
            except ValidationError as error:
                wrong = finding_of(error, EvaluateSpec).as_rule()
                where = f"evaluate.of_set.{name}.{wrong.field}"
                return RuleError(where, wrong.fault, wrong.value, wrong.remedy)
        return None

    @property
    def judgements(self) -> dict[str, TrialSpec]:
        """The trial as each of its validation data sets is evaluated, by their names; "" where there is one alone.

        The first makes the trial's result: checkpoints, searches and attributions look at it. The others are measured
        once, at the end, each under a protocol of its own. These are no trials: they have no id.
        """
        found: dict[str, list[str]] = {}
        for city in self.data.validate_cities:
            found.setdefault(self.data.layout.set_of(city), []).append(city)
        out = {}
        for name, cities in found.items():
            own = self.evaluate.of_set.get(name)
            radius_m = (own and own.positive_radius_m) or self.data.positive_radius_m
            data = self.data.model_copy(update={"validate_cities": tuple(cities), "positive_radius_m": radius_m})
            out[name] = self.model_copy(update={"data": data, "evaluate": self.evaluate.on(name)})
        return out

    @property
    def judged(self) -> TrialSpec:
        """The first of `judgements`; the trial itself where nothing is validated."""
        return next(iter(self.judgements.values()), self)

    @property
    def computation(self) -> int:
        """The one that makes its numbers; of a trial without digests, this code's."""
        return COMPUTATION if self.digests is None else self.digests.computation

    @property
    def trial_id(self) -> str:
        """16 hex digits: the same id is the same experiment."""
        assert self.digests is not None, "a trial is hashed after its digests are resolved"
        value = self.hashed()
        if self.job is not None:
            return digest_json({name: each for name, each in value.items() if name not in self.unread})
        # "0-2" and [layer3, layer4] are the same experiment: the id is that of the trained units.
        value["network"]["unfreeze"] = list(self.network.layers if self.train.steps else self.network.at_rest)
        return digest_json(value)

    def to_json(self) -> dict[str, Any]:
        """The whole spec as plain JSON values, aliases as in a sweep file."""
        return self.model_dump(mode="json", by_alias=True)
