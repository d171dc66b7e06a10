"""The open doors: every choice that a word of a registry makes, or a class of a user's own, one kind a file.

To add a built-in: write its file in the room that its line names, and the line in the file of its kind here.
CONTRIBUTING.md shows how a user brings one without touching this package.
"""

from vprdist.spec.doors.aggregator import GEMS, AggregatorName
from vprdist.spec.doors.attention import AttentionName, AttentionPlaces
from vprdist.spec.doors.backbone import DENSENET_UNITS, LITE_UNITS, RESNET_UNITS, VGG_UNITS, BackboneName
from vprdist.spec.doors.layout import MSLS, LayoutName
from vprdist.spec.doors.loss import LossName
from vprdist.spec.doors.mask import MaskName, MaskTraining
from vprdist.spec.doors.rerank import NO_RERANK, RerankName
from vprdist.spec.doors.searcher import SearcherName
from vprdist.spec.doors.tracker import TrackerName

__all__ = [
    "DENSENET_UNITS", "GEMS", "LITE_UNITS", "MSLS", "NO_RERANK", "RESNET_UNITS", "VGG_UNITS", "AggregatorName",
    "AttentionName", "AttentionPlaces", "BackboneName", "LayoutName", "LossName", "MaskName", "MaskTraining",
    "RerankName", "SearcherName", "TrackerName",
]  # fmt: skip
