"""An evaluation on disk: predictions, `queries.parquet`, and `evaluation.json` with intervals and a breakdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vprdist.files import write_json
from vprdist.report.parts import Part, parts_of
from vprdist.spec.result import VariantResult
from vprdist.store.queries import queries_file

if TYPE_CHECKING:
    from vprdist.evaluation.measure import Measured


@dataclass(frozen=True)
class Published:
    """What was written of an evaluation.

    Attributes:
        parts: the whole subtask first, then its breakdown, each with every metric and interval.
        variants: other evaluations of the same descriptors, each with a protocol of its own.
    """

    folder: Path
    parts: Sequence[Part]
    variants: Sequence[VariantResult]


def publish_evaluation(name: str, measured: Measured, out: Path) -> Published:
    """Publish an evaluation in a folder of its protocol below `out`.

    Args:
        name: what was evaluated.
    """
    protocol, evaluation = measured.protocol, measured.evaluation
    folder = out / protocol.fingerprint
    evaluation.write(folder)
    parts = parts_of(queries_file(folder), protocol.subtask)
    variants = evaluation.results(protocol)
    record = {
        "source": name,
        "notes": list(measured.notes),
        "fingerprint": protocol.fingerprint,
        "protocol": protocol.model_dump(mode="json"),
        "metrics": evaluation.metrics,
        "city_metrics": evaluation.city_metrics,
        "subtask_metrics": {name: ranking.metrics for name, ranking in evaluation.subtasks.items()},
        "parts": [_part_as_json(part) for part in parts],
        "variants": [each.model_dump(mode="json") for each in variants],
    }
    write_json(folder / "evaluation.json", record)
    return Published(folder, parts, variants)


def _part_as_json(part: Part) -> dict[str, object]:
    return {
        "name": part.label, "num_queries": part.num_queries, "metrics": part.metrics, "intervals": part.intervals,
    }  # fmt: skip
