"""The row a finished trial leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from vprdist.errors import UserError
from vprdist.files import digest_json, read_json
from vprdist.spec.base import Spec
from vprdist.spec.trial import TrialSpec

RESULT_VERSION = 1


class Protocol(Spec):
    """How a result was evaluated. Rows of different protocols are never ranked together."""

    dataset: str = Field(description="digest of the validation cities")
    cities: tuple[str, ...]
    subtask: str
    gallery: str
    positive_radius_m: float
    image_size: tuple[int, int]
    num_queries: int
    num_database: int
    whitening: str = "none"
    select: str = "last"

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that name the protocol in tables."""
        return digest_json(self.hashed(), 8)

    @property
    def summary(self) -> str:
        """One line for a person."""
        height, width = self.image_size
        return (
            f"{'+'.join(self.cities)}, subtask {self.subtask}, {self.num_queries} queries against "
            f"{self.num_database} database images, one gallery a {self.gallery}, {height}x{width}, "
            f"positives within {self.positive_radius_m:g} m, whitening {self.whitening}, {self.select} checkpoint"
        )


class ResultRow(Spec):
    """What one trial measured, how, and what it fell back to. Metric keys are `recall@k` and `map@k`."""

    version: int = RESULT_VERSION
    trial_id: str
    trial: TrialSpec
    protocol: Protocol
    metrics: dict[str, float]
    untrained: dict[str, float] | None = None
    city_metrics: dict[str, dict[str, float]] = Field(default_factory=dict)
    steps: int
    final_loss: float | None
    wall_s: float = Field(description="from the first start to the result, waiting for a requeue included")
    train_s: float
    num_ranks: int
    device: str
    peak_memory_mb: float
    starts: int = Field(description="of the job, resumes included, since the trial was last tried anew")
    fallbacks: tuple[str, ...] = ()
    environment: dict[str, Any] = Field(default_factory=dict)


def read_result(path: Path) -> ResultRow:
    """A trial's result.

    Raises:
        UserError: unreadable, or of another version.
    """
    try:
        value = read_json(path)
        if value.get("version") != RESULT_VERSION:
            remedy = "Move the trial's folder away and run the sweep again."
            raise UserError(path, f"a result has version {RESULT_VERSION}", value.get("version"), remedy)
        return ResultRow.model_validate_json(path.read_bytes())
    except (ValueError, AttributeError, ValidationError) as error:
        remedy = "Move the trial's folder away and run the sweep again."
        raise UserError(path, "a result must be readable", str(error).splitlines()[0], remedy) from None
