"""What the tests of networks share."""

from tests.drawn import copied_networks

__all__ = ["copied_networks"]
