"""`transformers:<name or folder>`: SegFormer and its kin, from Hugging Face's library (extra `transformers`)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vprdist.errors import WeightsError, first_line
from vprdist.files import mistaken_file, read_json
from vprdist.semantics.segmenters.base import IMAGENET_MEAN, IMAGENET_STD
from vprdist.semantics.segmenters.weights import TENSORS, model_folder
from vprdist.spec.class_table import ClassTable
from vprdist.spec.segmenter import MSLS_SIZE, SegmenterSpec
from vprdist.spec.vocabulary import Grid
from vprdist.tensors import not_finite

AGAIN = "Fetch it again, or name another: a Cityscapes model of transformers' own, as save_pretrained writes it."


OF_MASKS = ("maskformer", "mask2former")
MEAN_AND_STD = ("image_mean", "image_std")


EPS = 1e-6
"""The least sum of a pixel's classes that is divided by: no mask may hold a pixel."""


class TransformersSegmenter:
    """A model with `logits` (B, C, h, w), behind its own normalisation and before softmax; or one of masks.

    A network of masks (MaskFormer, Mask2Former: most of Vistas') answers with Q masks and a class for each, "none" the
    last. A pixel's class is the sum over the masks of the mask times its class, as its authors have it (Cheng et al.,
    Per-Pixel Classification is Not All You Need, section 3.4), here divided by the sum over the classes: a probability.
    """

    grid: Grid = "cells"

    def __init__(self, model: Any, pixels: dict[str, Any], image_size: tuple[int, int], device: str) -> None:
        # Newer transformers keep the type that the weights were saved in; the precision is chosen around this.
        self.model = model.float().eval().to(device)
        self.image_size, self.description = image_size, "transformers"
        self.scale = float(pixels["rescale_factor"])
        self.mean = torch.tensor(pixels["image_mean"], device=device).view(3, 1, 1)
        self.std = torch.tensor(pixels["image_std"], device=device).view(3, 1, 1)
        self._sizes: dict[tuple[int, int], tuple[int, int]] = {}

    def output_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Found by trying: kin of SegFormer answer at a quarter, an eighth or the picture's own resolution."""
        if image_size not in self._sizes:
            with torch.inference_mode():
                answer = self(torch.zeros(1, 3, *image_size, dtype=torch.uint8))
            self._sizes[image_size] = (answer.shape[2], answer.shape[3])
        return self._sizes[image_size]

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        normalised = (image_B3HW.to(self.mean.device).float() * self.scale - self.mean) / self.std
        answer = self.model(pixel_values=normalised)
        if hasattr(answer, "masks_queries_logits"):
            return _of_masks(answer.class_queries_logits.float(), answer.masks_queries_logits.float())
        probability_BCHW: Tensor = answer.logits.float().softmax(dim=1)
        return probability_BCHW


def _of_masks(class_BQC: Tensor, mask_BQHW: Tensor) -> Tensor:
    """(B, C, H, W) that sum to 1; where no mask holds a pixel, every class is as likely."""
    known_BQC = class_BQC.softmax(dim=2)[..., :-1]
    sums_BCHW = torch.einsum("bqc,bqhw->bchw", known_BQC, mask_BQHW.sigmoid()) + EPS / known_BQC.shape[2]
    return sums_BCHW / sums_BCHW.sum(dim=1, keepdim=True)


def open_network(spec: SegmenterSpec, device: str, table: ClassTable) -> TransformersSegmenter:
    """The model of the spec, from this machine's disk.

    Raises:
        WeightsError: the library or the model is not here, the model is broken, or has other classes.
    """
    folder = model_folder(spec.source)
    try:
        from transformers import AutoConfig, AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation
    except ImportError:
        remedy = "Install it: pip install 'vprdist[transformers]'."
        raise WeightsError(spec.name, "this segmenter needs the package transformers", None, remedy) from None
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).model_type
        model, report = (
            AutoModelForUniversalSegmentation if kind in OF_MASKS else AutoModelForSemanticSegmentation
        ).from_pretrained(folder, local_files_only=True, output_loading_info=True, trust_remote_code=False)
    except Exception as error:  # the library raises many kinds here, and every one means the same
        fault = "the folder must hold a model for semantic segmentation"
        found, remedy = _mistaken(folder) or (first_line(error), AGAIN)
        raise WeightsError(folder, fault, found, remedy) from None
    if absent := sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"])):
        # The library would fill these with random numbers and only say so.
        raise WeightsError(folder, f"the model's weights are incomplete: no {absent[0]}", None, AGAIN)
    if broken := not_finite(model.state_dict()):
        raise WeightsError(folder, "weights must be finite", broken, AGAIN)
    check_classes(folder, model.config.id2label, table)
    return TransformersSegmenter(model, read_pixels(folder), spec.picture_size or MSLS_SIZE, device)


def _mistaken(folder: Path) -> tuple[str, str] | None:
    """What lies in the place of one of the model's files, and the remedy; None: nothing that shows."""
    for path in [folder / "config.json", *(path for pattern in TENSORS for path in sorted(folder.glob(pattern)))]:
        if found := mistaken_file(path):
            return f"{path.name} is {found[0]}", found[1]
    return None


def check_classes(folder: Path, labels: dict[int, str], table: ClassTable) -> None:
    """The model's classes are the table's, in its order; names that say nothing are passed where there are as many.

    Raises:
        WeightsError: they are not.
    """
    names = [_plain(str(labels[index])) for index in sorted(labels)]
    unnamed = names == [f"label {index}" for index in range(len(table.classes))]
    wanted = [_plain(name) for name in table.classes]
    if names == wanted or unnamed:
        return
    remedy = "Use a model that was trained on Cityscapes, such as a SegFormer whose name says so; or name this one's "
    remedy += f"classes: class_table {folder / 'config.json'}."
    if len(names) != len(wanted):
        whose = "of Cityscapes" if table.is_default else f"of the class table {table.name}"
        raise WeightsError(folder, f"the model must have the {len(wanted)} classes {whose}", len(names), remedy)
    index = next(i for i, name in enumerate(names) if name != wanted[i])
    raise WeightsError(folder, f"class {index} of the model must be {table.classes[index]!r}", names[index], remedy)


def _plain(name: str) -> str:
    """A name without what checkpoints of one table spell differently."""
    return " ".join(name.lower().replace("_", " ").split())


def read_pixels(folder: Path) -> dict[str, Any]:
    """How the model wants its pixels: rescale_factor, image_mean, image_std; ImageNet's where it does not say.

    Raises:
        WeightsError: the file is broken.
    """
    pixels: dict[str, Any] = {"rescale_factor": 1 / 255, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return pixels
    try:
        told = read_json(path)
        pixels.update({name: told[name] for name in pixels if name in told})
        if not told.get("do_rescale", True):
            pixels["rescale_factor"] = 1.0
        if not told.get("do_normalize", True):
            pixels.update(image_mean=(0.0, 0.0, 0.0), image_std=(1.0, 1.0, 1.0))
        pixels = {"rescale_factor": float(pixels["rescale_factor"]), **{n: _three(pixels[n]) for n in MEAN_AND_STD}}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        fault = "the file must be JSON with the pixels' mean and std"
        raise WeightsError(path, fault, first_line(error), AGAIN) from None
    return pixels


def _three(values: Any) -> tuple[float, ...]:
    """One finite number a channel.

    Raises:
        ValueError, TypeError: they are not.
    """
    found = tuple(map(float, values))
    if len(found) != 3 or not all(map(math.isfinite, found)):
        raise ValueError(f"{list(values)[:5]} are not three finite numbers")
    return found
