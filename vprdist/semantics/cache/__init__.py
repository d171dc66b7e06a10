"""The Arrow cache of semantic activations. `format` says what is on disk; Arrow is loaded with the first shard read."""

from vprdist.semantics.cache.format import Manifest
from vprdist.semantics.cache.reader import Cache, grid_of, open_cache, verify

__all__ = ["Cache", "Manifest", "grid_of", "open_cache", "verify"]
