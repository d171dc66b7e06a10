"""Segmentation networks, one family a file, one interface (`base.Segmenter`).

To add one: its file beside the others with a function `open_network(spec, device)`, or
`open_network(spec, device, table)` where it may have any classes, and its line in
`spec.segmenter.FAMILIES`. A user's own class comes in by `own`.

Torch is loaded by `open_segmenter`, not by importing this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from vprdist.errors import WeightsError
from vprdist.semantics.segmenters.weights import weights_digest
from vprdist.spec.base import Names
from vprdist.spec.class_table import CITYSCAPES, table_of
from vprdist.spec.segmenter import SegmenterSpec

if TYPE_CHECKING:
    from vprdist.semantics.segmenters.base import Segmenter


def open_segmenter(spec: SegmenterSpec, device: str = "cpu", class_table: str | Names = CITYSCAPES) -> Segmenter:
    """The network of a spec with its weights, and the inference that the spec asks for around it.

    Args:
        device: "cpu", "cuda" or "cuda:<index>"; a litert network runs on the CPU whatever is said here.
        class_table: what its answers must be of.

    Raises:
        WeightsError: weights that are missing, cut or another network's; a library that is not installed; windows
            that do not lie on the network's grid.
        CacheError: a GPU that is not there.
    """
    from vprdist.semantics.segmenters.inference import check_device, wrap

    table = table_of(class_table)
    if not table.is_default and not spec.facts.any_table:
        fault = f"{spec.family} has the 19 classes of Cityscapes, not another table's"
        raise WeightsError("segmenter", fault, table.words, "Use a transformers network, or a class of your own.")
    if spec.facts.exported:
        device = "cpu"
    check_device(device)

    digest = weights_digest(spec)
    more = (table,) if spec.facts.any_table else ()
    network: Segmenter = import_module(spec.facts.module).open_network(spec, device, *more)
    segmenter = wrap(network, spec, device)
    segmenter.description = spec.words(digest, device)
    return segmenter
