"""How many local features an aggregator starts from: known before torch loads."""

from __future__ import annotations

NUM_FEATURES = 50_000
PER_PICTURE = 100
"""At most; both as NetVLAD's public code has it (Nanne/pytorch-NetVlad)."""
NUM_PICTURES = NUM_FEATURES // PER_PICTURE


def most_features(num_pictures: int) -> int:
    """How many there can be of so many training pictures; small ones have fewer places."""
    return PER_PICTURE * min(num_pictures, NUM_PICTURES)
