"""What tests of training share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drawn import copied
from tests.training.making import TwoRanks


@pytest.fixture(autouse=True, scope="package")
def _copied() -> Iterator[None]:
    with copied():
        yield


@pytest.fixture(scope="session")
def two_ranks() -> Iterator[TwoRanks]:
    ranks = TwoRanks()
    yield ranks
    ranks.close()
