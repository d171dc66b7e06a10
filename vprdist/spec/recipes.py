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
    "mining": {"negatives": 5, "pool": 1000, "positives": 10},
    "optimizer": "sgd",
    "momentum": 0.0,
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

SEGVPR: dict[str, Any] = {
    **REFERENCE,
    "batch_pairs": 2,
    "micro_pairs": 2,
    "chunk_queries": 1000,
    "batches": "triplets",
    "loss": {"name": "triplet", "margin": 0.1**0.5, "negatives": "own"},
    "mining": {"negatives": 1, "pool": 1000, "positives": 10},
    "momentum": 0.9,
    "lr": 1e-3,
    "weight_decay": 5e-3,
    "schedule": "linear",
    "lr_drop_pairs": None,
    "batch_norm": "frozen",
}
"""As SegVPR was trained (Paolicelli et al. 2022, and its public code): two triplets with the hardest of 1,000
negatives, descriptors renewed every 1,000 queries, SGD with momentum. Adapted: its rate falls by a power of 0.9 and is
ten times as high for its semantic head, here it falls linearly and is one; the statistics of BatchNorm are kept."""

DEATTENTION: dict[str, Any] = {
    **SEGVPR,
    "batch_pairs": 4,
    "micro_pairs": 4,
    "loss": {"name": "sharpened_triplet"},
    "mining": {"negatives": 10, "pool": 1000, "positives": 10},
    "weight_decay": 1e-3,
}
"""As de-attention with the sharpened triplet loss was trained (its public code): four queries with ten negatives each,
SGD with momentum. Adapted: its rate is halved every five epochs, here it falls linearly."""

RECIPES: dict[str, dict[str, Any]] = {
    "reference": REFERENCE, "fast": FAST, "current": CURRENT, "segvpr": SEGVPR, "deattention": DEATTENTION,
}  # fmt: skip
