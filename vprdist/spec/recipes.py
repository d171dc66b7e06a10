"""Named ways to train. A recipe says how, a scale says how much; keys that a sweep file sets itself win over both.

Every recipe gives the same keys, so that one replaces the other whole.
"""

from __future__ import annotations

from typing import Any

REFERENCE: dict[str, Any] = {
    "batch_pairs": 32,
    "micro_pairs": 2,
    "chunk_queries": 10_000,
    "chunked": True,
    "batches": "pairs",
    "pairs": "drawn",
    "loss": "gcl",
    "optimizer": "sgd",
    "lr": 0.1,
    "weight_decay": 0.0,
    "backbone_lr_factor": 1.0,
    "schedule": "step",
    "warmup": 0.0,
    "lr_drop_pairs": 250_000,
    "batch_norm": "reference",
    "augment": None,
    "precision": "float32",
}
"""The published training of GCL (Leyva-Vallina et al.): 16 micro-batches of 2 pairs, SGD without momentum, the rate
divided by 10 every 25 chunks of 10,000 queries, BatchNorm in training mode everywhere."""

FAST: dict[str, Any] = {
    **REFERENCE,
    "micro_pairs": 32,
    "chunked": False,
    "pairs": "all",
    "optimizer": "adamw",
    "lr": 1e-4,
    "weight_decay": 1e-4,
    "schedule": "cosine",
    "warmup": 0.1,
    "lr_drop_pairs": None,
    "batch_norm": "frozen",
    "precision": "bf16",
}
"""Every query with every partner of a batch, AdamW with warm-up and a cosine, BatchNorm kept still, bfloat16."""

CURRENT: dict[str, Any] = {
    **FAST,
    "batch_pairs": 60,
    "micro_pairs": 60,
    "batches": "places",
    "loss": "multi_similarity",
    "lr": 2e-4,
    "weight_decay": 1e-3,
    "backbone_lr_factor": 0.3,
    "schedule": "linear",
    "augment": {"crop_scale": [0.5, 1.0], "crop_ratio": [0.75, 4 / 3], "flip": 0.5, "num_ops": 3, "magnitude": 9.0},
}
"""What the systems of 2022 to 2025 share (GSV-Cities, MixVPR, SALAD, BoQ): 60 places of 4 pictures, multi-similarity
loss, AdamW at 2e-4 for what is new and 6e-5 for the backbone, linear decay, RandAugment with three operations."""

RECIPES: dict[str, dict[str, Any]] = {"reference": REFERENCE, "fast": FAST, "current": CURRENT}
