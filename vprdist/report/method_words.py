"""What a report says of each method of search, by the word that the report has (`SettingRow.method`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class MethodWords:
    """What is said of a method.

    Attributes:
        title: its name.
        meaning: what a class adds by it.
        is_order: it tells an order in which classes are taken in, and no effects with intervals.
        is_one_network: what a single seed tells holds for that very network.
    """

    title: str
    meaning: str = ""
    is_order: bool = False
    is_one_network: bool = False


METHODS: Mapping[str, MethodWords] = {
    "leave_one_out": MethodWords("leave-one-out", "A class adds what is lost when it alone is left out."),
    "add_one_in": MethodWords("add-one-in", "A class adds what it is worth alone, less what nobody is worth."),
    "shapley": MethodWords(
        "Shapley's value", "A class adds what its joining brings, on average over orders in which all join."
    ),
    "one_network": MethodWords(
        "one network for all arms",
        "A class adds what its joining brings to one network, on average over orders (Shapley's value).",
        is_one_network=True,
    ),
    "greedy": MethodWords(
        "greedy search", "It takes in the best class, then the best beside it, and so on.", is_order=True
    ),
}
"""A method that is not here is called by its own word, and no more is said of it."""


def words_of(method: str) -> MethodWords:
    """What is said of the method that found some effects."""
    return METHODS.get(method) or MethodWords(method.replace("_", " "))
