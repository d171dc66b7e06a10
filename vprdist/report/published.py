"""The values of the paper's Table I, as printed. They stand in a block of their own and are never ranked among ours."""

from __future__ import annotations

from vprdist.report.evidence import Block
from vprdist.report.rows import Row, other_metrics
from vprdist.spec.doors import MSLS
from vprdist.spec.vocabulary import METRICS, PAPER_TRAIN, PAPER_VALIDATE, STATIC_CLASSES

BACKBONE = "resnet50"
COLUMNS = ("recall@1", *other_metrics("recall@1"))
"""The metrics of Table I that are shown."""

TABLE_I: dict[str, tuple[float, ...]] = {
    "Normal-0-2": (0.604, 0.747, 0.789, 0.838, 0.604, 0.402, 0.347, 0.333),
    "Normal-2-2": (0.619, 0.741, 0.796, 0.836, 0.619, 0.408, 0.351, 0.339),
    "Normal-0-4": (0.611, 0.755, 0.800, 0.853, 0.611, 0.413, 0.357, 0.344),
    "Normal All": (0.611, 0.762, 0.785, 0.842, 0.635, 0.420, 0.360, 0.345),
    "Masked-0-2": (0.526, 0.682, 0.739, 0.776, 0.526, 0.337, 0.286, 0.273),
    "Masked-2-2": (0.542, 0.705, 0.750, 0.804, 0.542, 0.352, 0.300, 0.287),
    "Masked-0-4": (0.554, 0.699, 0.749, 0.809, 0.554, 0.351, 0.300, 0.286),
    "Masked All": (0.561, 0.712, 0.754, 0.795, 0.561, 0.359, 0.309, 0.296),
}
"""By the paper's name of a configuration, its METRICS."""

NOTES = (
    "Published: Holder et al., Table I (ResNet50, MSLS cph+sf). Another protocol than ours unless the data and sizes "
    "are the paper's: read the differences between rows, not the levels.",
    "R@1 equals mAP@1 by definition; the printed 'Normal All' row breaks that (0.611 against 0.635): "
    "one of the two is a misprint.",
)


def published_name(row: Row) -> str | None:
    """The paper's name of a configuration, where Table I has it: static classes reduced by mean, or plain RGB."""
    trial = row.trial
    masked = (
        trial.input.mode == "masked"
        and trial.input.class_names == STATIC_CLASSES
        and trial.input.mask_reduce == "mean"
        and trial.input.placebo == "none"
    )
    if row.trial.job is not None or row.is_variant or not (masked or trial.input.mode == "rgb"):
        return None
    kind, layers = "Masked" if masked else "Normal", trial.network.unfreeze_name
    name = f"{kind} All" if layers == "all" else f"{kind}-{layers}"
    return name if name in TABLE_I else None


def is_papers(row: Row) -> bool:
    """Whether data and backbone are the paper's: its cities of MSLS, every query of the validation, ResNet50."""
    data, protocol = row.trial.data, row.protocol
    return (
        protocol is not None
        and row.trial.network.backbone.name == BACKBONE
        and data.root != "demo"
        and data.layout == MSLS
        and set(data.train) == set(PAPER_TRAIN)
        and set(protocol.cities) == set(PAPER_VALIDATE)
        and protocol.subtask == "all"
    )


def published_rows(block: Block, asked: bool) -> list[list[str]]:
    """A protocol's rows that Table I has too, in the paper's order: our name, its name, `printed (ours)` a column.

    Args:
        asked: somebody wants them beside rows of other data and backbones as well.
    """
    ours = {
        name: standing.row
        for standing in reversed(block.standings)
        if (name := published_name(standing.row)) and (asked or is_papers(standing.row))
    }
    return [
        [
            ours[name].name,
            name if ours[name].trial.network.backbone.name == BACKBONE else f"{name} (another backbone)",
            *(f"{printed[METRICS.index(c)]:.3f} ({ours[name].metric(c):.3f})" for c in COLUMNS),
        ]
        for name, printed in TABLE_I.items()
        if name in ours
    ]
