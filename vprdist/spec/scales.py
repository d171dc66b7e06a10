"""The built-in scales. A sweep file's own values always win over these."""

from __future__ import annotations

from typing import Any

from vprdist.spec.vocabulary import PAPER_TRAIN, PAPER_VALIDATE

DEMO: dict[str, Any] = {
    "data": {"root": "demo"},
    "network": {"backbone": "efficientnet_lite0"},
    "train": {
        "image_size": [96, 128],
        "steps": 50,
        "batch_pairs": 16,
        "micro_pairs": 16,
        "optimizer": "sgd",
        "lr": 0.5,
        "lr_drop_pairs": None,
        "batch_norm": "frozen",
    },
}
"""The built-in city, minutes on two cores."""

PAPER: dict[str, Any] = {
    "data": {"root": "${MSLS_ROOT}", "train": list(PAPER_TRAIN), "validate": list(PAPER_VALIDATE)},
    "network": {"backbone": "resnet50"},
    "train": {"recipe": "reference", "image_size": [480, 640], "steps": 16250, "chunks": 52},
    "evaluate": {"before_training": False},
    "run": {"workers": 4},
}
"""The paper's subset of MSLS, with the reference recipe: 52 chunks of 10,000 queries."""

SCALES: dict[str, dict[str, Any]] = {"demo": DEMO, "paper": PAPER}
