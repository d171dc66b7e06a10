"""The row a finished trial leaves behind."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from vprdist.errors import UserError
from vprdist.files import digest_json
from vprdist.source import Source
from vprdist.spec.base import Spec, hashed_unless
from vprdist.spec.computation import FIRST
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import KS

RESULT_VERSION = 1

QUERY_COLUMNS = (
    "subtask", "city", "query", "sequence_key", "frame_number", "view_direction", "night", "easting", "northing", "ca",
    "num_positives", "retrieved", "hits", "positives", *(f"{name}@{k}" for name in ("recall", "map") for k in KS),
)  # fmt: skip
"""The columns of `predictions/queries.parquet`, which rank 0 writes before the result: a row for each subtask and
each query of it that counts.

Every subtask is evaluated from the same descriptors, under the trial's protocol but for the subtask; `all` is always
there. frame_number and num_positives are whole numbers, night is a bool, easting and northing are metres, ca degrees
clockwise from north (each null where the city has none). `retrieved` holds the keys of the first 20, nearest first,
`hits` a bool for each, `positives` up to five keys, nearest to the query first. The metrics are those of the query
alone.
"""


class Protocol(Spec):
    """How a result was evaluated. Rows of different protocols are never ranked together."""

    dataset: str = Field(description="digest of the validation cities")
    cities: tuple[str, ...]
    subtask: str
    gallery: str
    positive_radius_m: float
    image_size: tuple[int, int] | None = Field(description="null: unknown, the descriptors came from elsewhere")
    num_queries: int
    num_database: int
    whitening: str = Field(default="none", description="and what it was learnt on: train, database")
    select: str = Field(default="last", description="`val`, the reference's best checkpoint by R@5, is reserved")
    queries: str = hashed_unless("subtask")
    database: str = hashed_unless("subtask")
    no_positives: str = hashed_unless("drop", description="queries without a positive; count: they are misses")
    truth: str | None = hashed_unless(None, description="the data set's own rule for positives; null: the radius")
    dimensions: int | None = hashed_unless(None, description="null: as many as the network has")
    storage: str = hashed_unless("float32")
    rerank: str | None = hashed_unless(None, description="the second stage; null: there is none")
    computation: int = hashed_unless(FIRST, description="the one that was evaluated by; see `spec.computation`")
    num_left_out: int = hashed_unless(0, description="pictures of the cities that take no part; see `data.leave_out`")

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that name the protocol in tables."""
        return digest_json(self.hashed(), 8)

    @property
    def summary(self) -> str:
        """One line for a person."""
        size = "unknown resolution" if self.image_size is None else "x".join(map(str, self.image_size))
        queries = "queries" if self.queries == "subtask" else "queries (every one)"
        queries += "" if self.no_positives == "drop" else " (those without a positive count as misses)"
        positives = f"within {self.positive_radius_m:g} m" if self.truth is None else self.truth
        database = "database images" if self.database == "subtask" else "database images (every one)"
        gallery = "one gallery a city" if self.gallery == "city" else "one gallery of all cities"
        where = {"train": ", learnt on the training cities", "database": ", learnt on this database"}
        pca = f"PCA to {self.dimensions or 'all'} dimensions{where.get(self.whitening, '')}"
        whitening = "whitening none" if self.whitening == "none" else f"whitening by {pca}"
        left_out = f", {self.num_left_out} pictures left out" if self.num_left_out else ""
        second = "" if self.rerank is None else f", re-ranked by {self.rerank}"
        stored = "" if self.storage == "float32" else f", {self.storage} descriptors"
        return (
            f"{'+'.join(self.cities)}, subtask {self.subtask}, {self.num_queries} {queries} against "
            f"{self.num_database} {database}{left_out}, {gallery}, {size}, "
            f"positives {positives}, {whitening}{second}{stored}, {self.select} checkpoint"
            f"{'' if self.computation == FIRST else f', computation {self.computation}'}"
        )


class VariantResult(Spec):
    """Another evaluation of a result's descriptors: its own protocol and metrics."""

    protocol: Protocol
    metrics: dict[str, float]
    city_metrics: dict[str, dict[str, float]]


class SetResult(VariantResult):
    """The evaluation on another data set of the layout `mixed`, under a protocol of its own."""

    data_set: str
    variants: tuple[VariantResult, ...] = ()


NO_GPU = "no GPU: ran on the CPU"
"""What a row records of a machine without one: a fact, and no failing."""
GPU_MISSING = "no GPU, though the job asked for one: ran on the CPU"
OWN = "own"
"""Begins what names the numbers of a program in the place of a protocol."""


class ResultRow(Spec):
    """What one trial measured, how, and what it fell back to.

    Metric keys are `recall@k` and `map@k`; without a protocol they are what a program of the user's own calls its
    numbers, in the order in which it leaves them.
    """

    version: int = RESULT_VERSION
    trial_id: str
    trial: TrialSpec
    protocol: Protocol | None = Field(description="null: numbers of a program's own, not evaluated here")
    metrics: dict[str, float]
    not_finite: tuple[str, ...] = Field(
        default=(), description="numbers of a program's own that came out as NaN or infinite, by their names"
    )
    untrained: dict[str, float] | None = None
    city_metrics: dict[str, dict[str, float]] = Field(default_factory=dict)
    variants: tuple[VariantResult, ...] = Field(
        default=(), description="other dimensions, the raw descriptors, the first stage alone"
    )
    others: tuple[SetResult, ...] = Field(
        default=(), description="other data sets of the layout mixed; the first one's is the result"
    )
    data_set: str = Field(default="", description="of a row that a table makes of one of `others`: which")
    mask_weights: dict[str, float] | None = Field(
        default=None,
        description="of a learnt mask that weighs classes: how much of each it shows, the most shown 1, on average "
        "over validation pictures",
    )
    steps: int
    final_loss: float | None
    wall_s: float = Field(description="from the first start to the result, waiting for a requeue included")
    train_s: float
    num_ranks: int
    device: str
    peak_memory_mb: float | None = Field(description="null: a program of the user's own does not say it")
    starts: int = Field(description="of the job, resumes included, since the trial was last tried anew")
    fallbacks: tuple[str, ...] = ()
    environment: dict[str, Any] = Field(default_factory=dict)
    source: Source | None = Field(default=None, description="the code that computed it; null: it is not known")

    @model_validator(mode="after")
    def _evaluated(self) -> ResultRow:
        if self.protocol is None and not self.trial.measures_itself:
            raise ValueError("a result without a protocol must be that of a program that leaves numbers of its own")
        return self

    @property
    def own_protocol(self) -> Protocol:
        """The protocol where only networks of vprdist can stand, which always have one: of probes and of arms.

        Raises:
            UserError: it is a program's, which nobody evaluated here.
        """
        if self.protocol is None:
            fault = "only what vprdist evaluated can be probed, and these are numbers of a program's own"
            raise UserError(self.trial_id, fault, self._program, "Name trials of networks.")
        return self.protocol

    @property
    def num_queries(self) -> int | None:
        """Queries that it was asked; None: numbers of a program's own."""
        return None if self.protocol is None else self.protocol.num_queries

    @property
    def fingerprint(self) -> str:
        """What names its protocol in tables; of a program's own numbers, one name for each program."""
        if self.protocol is not None:
            return self.protocol.fingerprint
        return f"{OWN}-{digest_json(self._program, 8)}"

    @property
    def measured_by(self) -> str:
        """Its protocol by name, or its program, for a sentence."""
        return f"program {self._program}" if self.protocol is None else f"protocol {self.fingerprint}"

    @property
    def summary(self) -> str:
        """One line for a person on how its numbers were had."""
        return f"{self.measured_by}: {'numbers of its own' if self.protocol is None else self.protocol.summary}"

    @property
    def _program(self) -> str:
        return "" if self.trial.job is None else self.trial.job.title

    @property
    def asked(self) -> str:
        """What its per-query results are called: the trial, and the data set where it is one of `others`."""
        return f"{self.trial_id}@{self.data_set}" if self.data_set else self.trial_id
