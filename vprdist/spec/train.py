"""The training of a trial."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from vprdist.errors import RuleError
from vprdist.spec.arms import ArmsSpec
from vprdist.spec.augment import AugmentSpec
from vprdist.spec.base import ImageSize, Spec, hashed_unless, marked, not_hashed
from vprdist.spec.doors import LossName
from vprdist.spec.old_spellings import move_parameter, old_spelling
from vprdist.spec.recipes import RECIPES
from vprdist.spec.vocabulary import BatchNormMode, Precision

GCL = LossName.of("gcl")


class MiningSpec(Spec):
    """Which triplets a chunk of queries gives. Descriptors are renewed at its start, of its own candidates alone."""

    negatives: int = Field(default=5, ge=1, description="negatives of each query: the hardest of the pool")
    pool: int = Field(
        default=1000, ge=1, description="database images of a city that a chunk's negatives are chosen from, at most"
    )
    positives: int = Field(default=10, ge=1, description="positives of a query that the nearest is chosen from")


class TrainSpec(Spec):
    """How a network is trained: `steps` optimizer steps of `batch_pairs` pairs, in micro-batches of `micro_pairs`.
    Where `batches` are of triplets or places, `batch_pairs` counts these: queries, with their partners.

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
    batches: Literal["pairs", "triplets", "places"] = hashed_unless(
        "pairs",
        description="what each query of a batch comes with: a partner, a positive and hard negatives, or positives",
    )
    place_pictures: int = hashed_unless(
        4, ge=2, description="`batches: places`: pictures of a place, a query and different positives of it"
    )
    mining: MiningSpec = hashed_unless(MiningSpec(), description="`batches: triplets`: how they are chosen")
    pairs: Literal["drawn", "all"] = hashed_unless("drawn", description="all: each query with every partner of a batch")
    loss: LossName = Field(default=GCL, description="what is minimised")
    margin: float | None = old_spelling("loss.margin")
    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="sgd is with `momentum`, if any")
    momentum: float = hashed_unless(0.0, ge=0, lt=1, description="how much of its last update sgd goes on with")
    lr: float = Field(default=0.1, gt=0, description="learning rate")
    weight_decay: float = Field(default=0.0, ge=0, description="the optimizer's weight decay")
    backbone_lr_factor: float = hashed_unless(
        1.0, gt=0, le=1, description="learning rate of the backbone's units, as a multiple of `lr`"
    )
    schedule: Literal["step", "cosine", "linear"] = hashed_unless(
        "step", description="cosine, linear: from `lr` to zero behind the last step"
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
    augment: AugmentSpec | None = hashed_unless(None, description="how training pictures are changed; null: not")
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
        self._check_batches()
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

    def _check_batches(self) -> None:
        """What batches of triplets and places need."""
        if self.batches == "triplets" and not self.chunked:
            fault = "batches of triplets must end with their chunk of queries, at whose start descriptors are renewed"
            raise RuleError("chunked", fault, False, "Set trial.train.chunked: true.")
        if self.batches != "triplets" and not self.loss.is_own and self.loss.parameters.get("negatives") == "own":
            fault = (
                f"the loss {self.loss.title} needs negatives of each query's own, which batches of triplets alone have"
            )
            remedy = "Set trial.train.batches: triplets, or write negatives: hardest (or all)."
            raise RuleError("loss.negatives", fault, self.batches, remedy)

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
    def num_partners(self) -> int:
        """How many partners each query of a batch has."""
        return {"pairs": 1, "triplets": 1 + self.mining.negatives, "places": self.place_pictures - 1}[self.batches]

    @property
    def num_pictures(self) -> int:
        """How many pictures a step trains on."""
        return self.batch_pairs * (1 + self.num_partners)

    @property
    def draws(self) -> tuple[float, float, float]:
        """How often a partner is a positive, a soft negative, a hard negative: what must be there has a share."""
        if self.batches == "pairs":
            positive, soft, hard = self.loss.fact("draws")
            return positive, soft, hard
        negatives = self.mining.negatives / self.num_partners if self.batches == "triplets" else 0.0
        return 1 - negatives, 0.0, negatives

    def resolved(self) -> TrainSpec:
        """The same with every field at its default that nothing reads."""
        fields = type(self).model_fields
        idle = {
            **({} if self.chunked else {"chunks": None}),
            **({} if self.optimizer == "sgd" else {"momentum": 0.0}),
            **({} if self.batches == "places" else {"place_pictures": fields["place_pictures"].default}),
            **({} if self.batches == "triplets" else {"mining": MiningSpec()}),
        }
        return self.model_copy(update=idle)

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
