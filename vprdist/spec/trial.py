"""A trial: one fully resolved experiment. Its id is the hash of what it is, never of where or how it runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vprdist.errors import RuleError, nearest
from vprdist.files import digest_json
from vprdist.spec.arms import Arm, ArmsSpec
from vprdist.spec.base import Spec, hashed_unless, marked, not_hashed
from vprdist.spec.computation import FIRST
from vprdist.spec.demo import DemoSpec
from vprdist.spec.doors import MSLS, AggregatorName, AttentionName, BackboneName, LayoutName, LossName
from vprdist.spec.named import Named
from vprdist.spec.old_spellings import move_parameter, old_spelling
from vprdist.spec.recipes import RECIPES
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.vocabulary import (
    CLASS_GROUPS,
    CLASSES,
    OFFICIAL_VIEW,
    WEIGHTS,
    BatchNormMode,
    Compression,
    ConvInit,
    Gallery,
    InputMode,
    LabelSource,
    MaskReduce,
    Placebo,
    Precision,
    Scope,
    Storage,
    Subtask,
    Whitening,
    trained_units,
)

Names = tuple[str, ...]
RESNET50, NO_ATTENTION = BackboneName.of("resnet50"), AttentionName.of("none")
GEM, GCL = AggregatorName.of("gem"), LossName.of("gcl")
ImageSize = tuple[Annotated[int, Field(ge=32, le=4096)], Annotated[int, Field(ge=32, le=4096)]]


class DataSpec(Spec):
    """Which places: a data set's folder, how it lies there, and its cities; or the built-in demo city (`root: demo`).

    Graded labels are the official ones (`<city>_gt.h5`) where they are there and were made for this field of view, or
    computed; `labels` may ask for either. It is not hashed: the official files' content is, as one of the digests.
    """

    root: str = not_hashed(
        "demo", description="where the pictures are",
        json_schema_extra=marked(words=("demo",), other="the folder of a data set"),
    )  # fmt: skip
    layout: LayoutName = hashed_unless(MSLS, description="how the pictures lie in `root`")
    demo: DemoSpec | None = not_hashed(None, description="the built-in city in other sizes; null: as it is")
    train: Names = Field(default=(), description="training cities; empty: every one of the demo city's")
    validate_cities: Names = Field(
        default=(), alias="validate", description="cities to evaluate on; empty: every one of the demo city's"
    )
    positive_radius_m: float = Field(default=25.0, gt=0, description="a database image so near to a query is a hit")
    fov_radius_m: float = Field(default=50.0, gt=0, description="how far a view reaches, in the graded similarity")
    fov_degrees: float = Field(default=90.0, ge=1, le=180, description="how wide a view is, in the graded similarity")
    labels: LabelSource = not_hashed(
        "auto", description="graded labels of the training cities; auto: official where they are there, else computed"
    )

    @model_validator(mode="after")
    def _cities(self) -> DataSpec:
        for field, cities in (("train", self.train), ("validate", self.validate_cities)):
            if len(set(cities)) != len(cities):
                raise RuleError(field, "a city is named twice", list(cities))
        if both := sorted(set(self.train) & set(self.validate_cities)):
            raise RuleError("validate", "a city to train on cannot validate", both[0], "Take it out of one list.")
        if self.demo is not None and self.root != "demo":
            raise RuleError(
                "demo",
                "`demo` describes the built-in city, which the root is not",
                None,
                "Set `root: demo`, or delete `demo`.",
            )
        if self.root == "demo" and self.layout != MSLS:
            fault = "the built-in city needs the layout msls"
            raise RuleError("layout", fault, self.layout.name, "Delete the key, or set `root` to your folder.")
        view = (self.fov_radius_m, self.fov_degrees)
        if self.labels == "official" and view != OFFICIAL_VIEW:
            fault = "official labels need a field of view of {:g} m and {:g} degrees".format(*OFFICIAL_VIEW)
            raise RuleError("labels", fault, "{:g} m and {:g} degrees".format(*view), "Use `labels: computed`.")
        return self


class InputSpec(Spec):
    """What the network sees (paper, section III): RGB, RGB times a mask, or RGB with further channels.

    `classes` is a group ("static", "all") or a list of class names; only the mask modes use it. `placebo` puts
    another mask in the place of theirs, which says nothing of these classes (see `semantics.placebo`). What made the
    activations is not hashed: their content is, as one of the trial's digests.
    """

    mode: InputMode = Field(
        default="rgb", description="pictures as they are, times the mask, with the mask or all 19 activations beside"
    )
    classes: str | Names | None = Field(
        default="static", description="the classes of the mask: a group or a list",
        json_schema_extra=marked(words=CLASS_GROUPS, entries=CLASSES, entry="class"),
    )  # fmt: skip
    mask_reduce: MaskReduce | None = Field(
        default="mean", description="how the classes' activations become one mask; sum in a search of subsets"
    )
    conv1_init: ConvInit | None = Field(
        default="inflate", description="weights of conv1 with further channels: all random, or RGB's own and zero"
    )
    placebo: Placebo = hashed_unless(
        "none", description="another mask in its place: random blobs, another picture's, as many other classes"
    )
    cache: str | None = not_hashed(
        None, description="folder of the cached activations; null with a segmenter: one in the run folder"
    )
    segmenter: SegmenterSpec | None = not_hashed(
        None, description="makes the cache, where it is not made yet", json_schema_extra=marked(own=True)
    )
    compression: Compression = not_hashed("none", description="how a cache that a segmenter makes is compressed")

    @model_validator(mode="after")
    def _classes(self) -> InputSpec:
        named = self.classes
        if isinstance(named, str):
            if named not in CLASS_GROUPS:
                fault = "`classes` must be the name of a group or a list of class names"
                raise RuleError("classes", fault, named, nearest(named, CLASS_GROUPS))
        elif named is not None:
            for name in named:
                if name not in CLASSES:
                    raise RuleError(
                        "classes", "every entry must be one of the 19 classes", name, nearest(name, CLASSES)
                    )
            if not named:
                raise RuleError(
                    "classes",
                    "the list of classes cannot be empty: it would make an empty mask",
                    [],
                    "Name a class, or a group.",
                )
            if len(set(named)) != len(named):
                raise RuleError("classes", "a class is named twice", list(named))
        needed = {"classes": self.uses_mask, "mask_reduce": self.uses_mask, "conv1_init": self.adds_channels}
        for field, is_needed in needed.items():
            if is_needed and getattr(self, field) is None:
                raise RuleError(field, f"mode {self.mode} needs a value here", None, "Delete the key for its default.")
        if self.placebo == "classes" and self.uses_mask and self.class_names == CLASSES:
            raise RuleError("placebo", "with all 19 classes there are no others to draw", self.placebo, "Use random.")
        return self

    @property
    def adds_channels(self) -> bool:
        return self.mode in ("rgb+mask", "rgb+semantics")

    @property
    def class_names(self) -> Names:
        """The chosen classes in trainId order (the order in the file never matters)."""
        chosen = CLASS_GROUPS[self.classes] if isinstance(self.classes, str) else self.classes or ()
        return tuple(name for name in CLASSES if name in chosen)

    @property
    def arm(self) -> Arm:
        """What the mask is made of."""
        return Arm(self.class_names, self.placebo)

    @property
    def needs_cache(self) -> bool:
        return self.mode != "rgb"

    @property
    def uses_mask(self) -> bool:
        return self.mode in ("masked", "rgb+mask")

    def resolved(self) -> InputSpec:
        """The same input with every field that the mode ignores null, and classes as a sorted list."""
        return self.model_copy(
            update={
                "classes": self.class_names if self.uses_mask else None,
                "mask_reduce": self.mask_reduce if self.uses_mask else None,
                "conv1_init": self.conv1_init if self.adds_channels else None,
                "placebo": self.placebo if self.uses_mask else "none",
                "cache": self.cache if self.needs_cache else None,
                "segmenter": self.segmenter if self.needs_cache else None,
            }
        )


class NetworkSpec(Spec):
    """Backbone, the units that are trained, attention, the aggregator, initial weights.

    Initial weights are a word or a checkpoint: one of the public GCL release, or `checkpoint/last.pt` of a trial. Its
    path is not hashed: its content is, as one of the trial's digests. It holds the aggregator's parameters as well.
    """

    backbone: BackboneName = Field(default=RESNET50, description="pictures to features, in ordered units")
    unfreeze: str | Names = Field(
        default="0-2", description="the units that are trained: the first X and the last Y, all, or a list of units",
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
        try:
            trained_units(self.units, self.unfreeze, self.backbone.title)
        except ValueError as error:
            raise RuleError("unfreeze", f"impossible layer set: {error}", self.unfreeze_name) from None
        for name in self.attention.at:
            if name not in self.units:
                remedy = nearest(name, self.units)
                raise RuleError("attention.at", f"{self.backbone.title} has no such unit", name, remedy)
        return self

    @property
    def units(self) -> Names:
        """The backbone's units, input side first."""
        return tuple(self.backbone.fact("units"))

    @property
    def trained(self) -> Names:
        """The units that are trained, in the backbone's order."""
        return trained_units(self.units, self.unfreeze, self.backbone.title)

    @model_validator(mode="after")
    def _start(self) -> NetworkSpec:
        if self.checkpoint is None:
            return self
        if not set(self.weights) & {"/", "."}:
            remedy = f"{nearest(self.weights, WEIGHTS)} A file in this folder: ./{self.weights}."
            raise RuleError("weights", "weights must be a word or the path of a checkpoint", self.weights, remedy)
        if self.aggregator.name == "gem" and self.aggregator != GEM:
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
        if self.aggregator.name == "gem":
            del out["aggregator"]
            out["gem_p"] = self.aggregator.parameters["p"]
        return out

    @property
    def unfreeze_name(self) -> str:
        return self.unfreeze if isinstance(self.unfreeze, str) else "+".join(self.unfreeze)


class TrainSpec(Spec):
    """How a network is trained: `steps` optimizer steps of `batch_pairs` pairs, in micro-batches of `micro_pairs`.

    `recipe` names the set of values that the others started from (`spec/recipes.py`); the values are what counts.
    """

    recipe: str | None = not_hashed(
        None, description="a named set of values for the keys beside it, which win where the file sets them",
        json_schema_extra=marked(words=RECIPES),
    )  # fmt: skip
    image_size: ImageSize = Field(
        default=(480, 640), description="height and width of a picture", json_schema_extra=marked(unit="pixels")
    )
    steps: int = Field(default=16250, ge=0, description="optimizer steps; 0 evaluates the untrained network")
    batch_pairs: int = Field(default=32, ge=1, description="pairs per optimizer step, over all ranks")
    micro_pairs: int = Field(default=2, ge=1, description="pairs per forward pass on one rank, at most")
    chunk_queries: int = Field(default=10_000, ge=1, description="queries drawn between two drawings of pairs")
    chunked: bool = hashed_unless(
        False, description="as the reference: each query once before any comes again, and a batch ends with its chunk"
    )
    chunks: int | None = hashed_unless(
        None, ge=1, description="`chunked`: end after so many chunks, if `steps` are more"
    )
    pairs: Literal["drawn", "all"] = hashed_unless("drawn", description="all: each query with every partner of a batch")
    loss: LossName = Field(default=GCL, description="what is minimised")
    margin: float | None = old_spelling("loss.margin")
    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="sgd is without momentum")
    lr: float = Field(default=0.1, gt=0, description="learning rate")
    weight_decay: float = Field(default=0.0, ge=0, description="the optimizer's weight decay")
    schedule: Literal["step", "cosine"] = hashed_unless(
        "step", description="cosine: from `lr` to zero at the last step"
    )
    warmup: float = hashed_unless(0.0, ge=0, lt=1, description="share of the steps in which the rate rises to `lr`")
    lr_drop_pairs: int | None = Field(
        default=250_000, ge=1,
        description="step schedule: divide the rate by 10 after so many pairs (`chunked`: chunks of so many queries)",
    )  # fmt: skip
    batch_norm: BatchNormMode = Field(
        default="reference",
        description="statistics are of a side of a micro-batch, kept still, or of a micro-batch over all ranks",
    )
    arms: ArmsSpec | None = hashed_unless(None, description="one network for all subsets of some players' classes")
    precision: Precision = hashed_unless("float32", description="bf16: convolutions in bfloat16, the rest in float32")

    @model_validator(mode="after")
    def _old(self) -> TrainSpec:
        move_parameter(self, "margin", "loss", "margin")
        return self

    @model_validator(mode="after")
    def _whole(self) -> TrainSpec:
        if self.batch_pairs % self.micro_pairs:
            remedy = "Set both: a recipe gives both."
            raise RuleError(
                "micro_pairs", f"this must divide batch_pairs, {self.batch_pairs}", self.micro_pairs, remedy
            )
        self._check_stated()
        whole = "`pairs: all`" if self.pairs == "all" else f"the loss {self.loss.title}"
        if self.counts_all_pairs and self.micro_pairs != self.batch_pairs:
            fault = f"{whole} needs a batch in one piece: micro_pairs must be batch_pairs, {self.batch_pairs}"
            raise RuleError("micro_pairs", fault, self.micro_pairs, "A smaller batch takes less memory.")
        if self.counts_all_pairs and self.batch_norm == "reference":
            fault = f"{whole} needs a batch in one piece, `batch_norm: reference` passes each side of a part alone"
            raise RuleError("batch_norm", fault, self.batch_norm, "Use frozen, or sync.")
        if self.chunked and self.chunk_queries < self.micro_pairs:
            fault = f"a chunk must fill a micro-batch of {self.micro_pairs} pairs"
            raise RuleError("chunk_queries", fault, self.chunk_queries, "Draw more queries a chunk.")
        return self

    def _check_stated(self) -> None:
        """What a user's loss states of itself."""
        draws, labels, wants = (self.loss.fact(name) for name in ("draws", "labels", "wants"))
        numbers = isinstance(draws, (list, tuple)) and all(isinstance(share, (int, float)) for share in draws)
        if not (numbers and len(draws) == 3 and min(draws) >= 0 and abs(sum(draws) - 1) < 1e-9):
            fault = f"the class {self.loss.title} must draw positives, soft and hard negatives by shares that sum to 1"
            raise RuleError("loss", fault, draws, "Write draws = (0.5, 0.25, 0.25) in its body.")
        if labels not in ("fov", "sim"):
            fault = f"the class {self.loss.title} must learn from labels fov or sim"
            raise RuleError("loss", fault, labels, 'Write labels = "fov" in its body.')
        if wants not in ("pairs", "all"):
            fault = f"the class {self.loss.title} must want pairs or all"
            raise RuleError("loss", fault, wants, 'Write wants = "all" in its body.')

    @property
    def counts_all_pairs(self) -> bool:
        """Whether the loss is given every query of a batch with every partner, and not each with its own alone."""
        return self.pairs == "all" or self.loss.fact("wants") == "all"

    def hashed(self) -> dict[str, Any]:
        """As every spec; the losses of version 0.1 are hashed as they were then, their margin beside them."""
        out = super().hashed()
        if self.loss.name in ("gcl", "contrastive"):
            out |= {"loss": self.loss.name, "margin": self.loss.parameters["margin"]}
        return out

    def ranks_fault(self, world_size: int) -> RuleError | None:
        """The rule that a number of ranks breaks: what is dealt out to them must come out even."""
        field, pieces, what = {
            "reference": ("batch_pairs", self.batch_pairs // self.micro_pairs, "micro-batches of a step"),
            "sync": ("micro_pairs", self.micro_pairs, "pairs of a micro-batch"),
            "frozen": ("batch_pairs", self.batch_pairs, "pairs of a step"),
        }[self.batch_norm]
        if pieces % world_size == 0:
            return None
        fault = f"the {world_size} ranks must divide the {what} (batch_norm: {self.batch_norm})"
        return RuleError(field, fault, pieces, "Change one of the two.")


class EvaluateSpec(Spec):
    """How a trial is evaluated: the MSLS rules, and what is left open by them.

    The queries that count are those of the subtask that have a positive within the radius; `queries: every` asks
    those outside `subtask_index.csv` too (of MSLS' validation cities, some 11,000 instead of 740). Panoramas are
    dropped. PCA whitening is learnt on the training cities or on the evaluated database itself; the first of
    `dimensions` is the trial's result, further ones and the raw descriptors are variants of it.
    """

    subtask: Subtask = Field(
        default="all", description="MSLS' subtask: summer, winter, old, new, day, night (s2w: from summer to winter)"
    )
    gallery: Gallery = Field(default="city", description="one gallery a city, or all cities' images in one")
    queries: Scope = hashed_unless("subtask", description="which queries count; every: those outside the subtask too")
    database: Scope = hashed_unless("subtask", description="every: images outside the subtask are searched too")
    image_size: ImageSize | None = Field(
        default=None, description="height and width of a picture; null: the training size",
        json_schema_extra=marked(unit="pixels"),
    )  # fmt: skip
    before_training: bool = Field(default=True, description="also evaluate the untrained network, for comparison")
    whitening: Whitening = hashed_unless(
        "none", description="PCA of descriptors, learnt on the training cities or here"
    )
    dimensions: tuple[Annotated[int, Field(ge=1)], ...] = hashed_unless(
        (), description="lengths of descriptors after whitening, the result's first; empty: as the network's"
    )
    storage: Storage = hashed_unless("float32", description="the type that descriptors are kept in")
    predict: Names = not_hashed((), description="cities without ground truth, to write predictions for")

    @model_validator(mode="after")
    def _possible(self) -> EvaluateSpec:
        if self.queries == "every" and self.subtask != "all":
            raise RuleError(
                "queries",
                f"subtask {self.subtask} chooses the queries, nothing else can",
                self.queries,
                "Delete the key.",
            )
        if self.dimensions and self.whitening == "none":
            fault = "only whitening can change the dimensions"
            raise RuleError("dimensions", fault, list(self.dimensions), "Set `whitening: train` or `database`.")
        for field, values in (("dimensions", self.dimensions), ("predict", self.predict)):
            if len(set(values)) != len(values):
                raise RuleError(field, "a value is named twice", list(values))
        return self


class Digests(Spec):
    """What the trial's inputs are, by content, and which computation makes its numbers of them.

    `prepare.resolve` fills it in before the trial is hashed.
    """

    dataset: str
    cache: str | None
    weights: str
    labels: str | None = hashed_unless(None, description="of official label files; null: all are computed")
    code: dict[str, str] | None = hashed_unless(None, description="of the files of a user's own classes, by their key")
    computation: int = hashed_unless(FIRST, ge=1, description="see `spec.computation`")


class RunSpec(Spec):
    """How a trial runs on its machine. Never hashed."""

    workers: int = Field(default=0, ge=0, description="data loader processes per rank")
    keep_mb: int = Field(default=512, ge=0, description="decoded pictures that a rank keeps in memory, in megabytes")
    compile: bool = Field(default=False, description="compile the network with torch.compile")
    tensorboard: bool = Field(default=False, description="also write metrics for TensorBoard (extra `tensorboard`)")
    checkpoint_s: float = Field(default=300.0, gt=0, description="seconds between periodic checkpoints")
    log_steps: int = Field(default=5, ge=1, description="steps between two lines of metrics")
    evaluate_steps: int | None = Field(default=None, ge=1, description="also evaluate every so many steps")


def _choices() -> dict[tuple[str, ...], type[Named]]:
    """The keys of named choices, found in the sections of a trial."""
    sections: dict[str, type[Spec]] = {"data": DataSpec, "input": InputSpec, "network": NetworkSpec, "train": TrainSpec}
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
    seed: int = Field(default=0, ge=0, le=2**31 - 1, json_schema_extra=marked(in_files=False))
    digests: Digests | None = Field(default=None, json_schema_extra=marked(in_files=False))
    run: RunSpec = not_hashed(RunSpec())

    @model_validator(mode="after")
    def _armed(self) -> TrialSpec:
        arms, shown = self.train.arms, self.input
        if arms is None:
            return self
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
        if shown.class_names != arms.class_names:
            fault = "input.classes must be those of all players of train.arms"
            raise RuleError("input.classes", fault, list(shown.class_names), f"Write {list(arms.class_names)}.")
        return self

    @property
    def choices(self) -> dict[str, Named]:
        """Every named choice, by its dotted key."""
        return {f"{section}.{name}": getattr(getattr(self, section), name) for section, name in CHOICES}

    @property
    def own_code(self) -> dict[str, Named]:
        """Those of them that are a user's own classes."""
        return {key: named for key, named in self.choices.items() if named.is_own}

    def resolved(self, digests: Digests) -> TrialSpec:
        """This trial with null where the mode ignores a field, named units, and its digests."""
        units = self.network.trained
        evaluate = self.evaluate.model_copy(update={"image_size": self.evaluate.image_size or self.train.image_size})
        train = self.train if self.train.chunked else self.train.model_copy(update={"chunks": None})
        name = self.network.unfreeze
        network = self.network.model_copy(update={"unfreeze": name if isinstance(name, str) else units})
        changes = {
            "input": self.input.resolved(),
            "network": network,
            "train": train,
            "evaluate": evaluate,
            "digests": digests.model_copy(update={"code": {k: n.digest for k, n in self.own_code.items()} or None}),
        }
        return self.model_copy(update=changes)

    @property
    def cities(self) -> Names:
        """Every city whose pictures are read: to train, to validate, to predict."""
        measured = (*self.data.train, *self.data.validate_cities)
        return (*measured, *(name for name in self.evaluate.predict if name not in measured))

    @property
    def trial_id(self) -> str:
        """16 hex digits: the same id is the same experiment."""
        assert self.digests is not None, "a trial is hashed after its digests are resolved"
        value = self.hashed()
        # "0-2" and [layer3, layer4] are the same experiment: the id is that of the trained units.
        value["network"]["unfreeze"] = list(self.network.trained)
        return digest_json(value)

    def to_json(self) -> dict[str, Any]:
        """The whole spec as plain JSON values, aliases as in a sweep file."""
        return self.model_dump(mode="json", by_alias=True)
