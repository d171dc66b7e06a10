"""How data sets lie in folders: one file a layout. Everybody else asks `open_layout` or `layout_of` for cities.

A user's own layout is a class on `Layout`; CONTRIBUTING.md shows one. Its registry stands in `spec.doors`.
"""

from vprdist.data.layouts.base import Layout
from vprdist.data.layouts.registry import (
    city_digest_cached,
    dataset_digest,
    layout_of,
    open_layout,
    read_city_cached,
    recognised,
    whole_digest_cached,
)
from vprdist.data.places import City, Side, Truth

__all__ = [
    "City",
    "Layout",
    "Side",
    "Truth",
    "city_digest_cached",
    "dataset_digest",
    "layout_of",
    "open_layout",
    "read_city_cached",
    "recognised",
    "whole_digest_cached",
]
