"""The words a sweep file may use. They live here, not in their rooms, so that a file is refused before torch loads."""

from __future__ import annotations

from typing import Literal

CLASSES: tuple[str, ...] = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
    "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""The 19 Cityscapes classes in trainId order."""

STATIC_CLASSES: tuple[str, ...] = CLASSES[:10]
"""The paper's mask: the classes that stay where they are (sky left out)."""

CLASS_GROUPS: dict[str, tuple[str, ...]] = {"static": STATIC_CLASSES, "all": CLASSES}

InputMode = Literal["rgb", "masked", "rgb+mask", "rgb+semantics"]
MaskReduce = Literal["mean", "sum", "max"]
Placebo = Literal["none", "random", "image", "classes", "outline"]
MaskAt = Literal["picture", "features"]
"""Where a mask is applied: to the pixels, or as weights of the pooling on the grid of the features."""
MaskFill = Literal["black", "mean", "picture_mean", "blur", "noise"]
"""What stands where a mask of the picture is zero; see `network.fill`."""
FORM_WORDS: dict[str, str] = {
    "black": "black", "mean": "mean colour", "picture_mean": "picture's mean", "blur": "blur", "noise": "noise",
    "features": "features",
}  # fmt: skip
"""The forms of a mask in short words, for tables: by its fill, or `features`."""
Compression = Literal["none", "lz4", "zstd"]
Grid = Literal["cells", "corners"]
"""Where the points of activations lie on their picture. `cells`: point i of n is the centre of the i-th of n equal
parts, at (i + 0.5) / n. `corners`: the first and the last point lie on the first and the last pixel (TensorFlow's
align_corners), the others at equal distances between."""
ConvInit = Literal["random", "inflate"]
BatchNormMode = Literal["reference", "frozen", "sync"]
Precision = Literal["float32", "bf16"]
WEIGHTS: tuple[str, ...] = ("imagenet", "none")
"""The words for initial weights; anything else is the path of a checkpoint."""
Broken = Literal["refuse", "leave_out"]
LabelSource = Literal["auto", "official", "computed", "distance", "truth"]
OFFICIAL_VIEW: tuple[float, float] = (50.0, 90.0)
"""The field of view that GCL's official labels were made for: radius in metres, opening in degrees."""
Gallery = Literal["city", "merged"]
Scope = Literal["subtask", "every"]
NoPositives = Literal["drop", "count"]
"""Queries that no database image shows the place of: they are dropped (MSLS), or count as misses, as in
VPR-methods-evaluation and most papers on Pitts30k, Tokyo 24/7 and SF-XL."""
Whitening = Literal["none", "train", "database"]
Storage = Literal["float32", "float16"]

SIDES: tuple[str, ...] = ("query", "database")
SUBTASKS: tuple[str, ...] = ("all", "s2w", "w2s", "o2n", "n2o", "d2n", "n2d")
"""MSLS' own; a data set's conditions are subtasks too."""
KS: tuple[int, ...] = (1, 5, 10, 20)
"""The cut-offs of recall@k and mAP@k in the paper and in the leaderboard."""
METRICS: tuple[str, ...] = tuple(f"{metric}@{k}" for metric in ("recall", "map") for k in KS)

PAPER_TRAIN: tuple[str, ...] = ("amman", "boston", "london", "manila", "zurich")
PAPER_VALIDATE: tuple[str, ...] = ("cph", "sf")


def trained_units(units: tuple[str, ...], unfreeze: str | tuple[str, ...], backbone: str) -> tuple[str, ...]:
    """The units that are trained, in the backbone's order.

    Args:
        units: all of the backbone's, input side first: what X-Y counts.
        unfreeze: "all", "X-Y" (X units of the input side and Y of the output side), or a list of unit names.
        backbone: its name, for messages.

    Raises:
        ValueError: the layer set is impossible for this backbone; the text says why.
    """
    if unfreeze == "all":
        return units
    if isinstance(unfreeze, str):
        first, dash, last = unfreeze.partition("-")
        if not (dash and first.isdecimal() and last.isdecimal()):
            raise ValueError("a layer set must be 'all', 'X-Y' (two numbers), or a list of unit names")
        if int(first) + int(last) > len(units):
            raise ValueError(
                f"X-Y trains X input-side and Y output-side units, and {backbone} has no more than {len(units)}"
            )
        front, back = units[: int(first)], units[len(units) - int(last) :]
        return front + back
    unknown = [name for name in unfreeze if name not in units]
    if unknown:
        raise ValueError(f"{backbone} has no unit {unknown[0]!r}; its units are {', '.join(units)}")
    if len(set(unfreeze)) != len(unfreeze):
        raise ValueError("a unit is named twice")
    return tuple(name for name in units if name in unfreeze)
