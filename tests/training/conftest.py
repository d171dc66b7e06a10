"""What tests of training share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drawn import copied_networks
from tests.training.making import TwoRanks

__all__ = ["copied_networks", "two_ranks"]


@pytest.fixture(scope="session")
def two_ranks() -> Iterator[TwoRanks]:
    ranks = TwoRanks()
    yield ranks
    ranks.close()
