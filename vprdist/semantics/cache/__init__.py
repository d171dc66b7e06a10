"""The Arrow cache of semantic activations. `format` says what is on disk; pyarrow is imported here alone."""

from vprdist.semantics.cache.format import Manifest
from vprdist.semantics.cache.reader import Cache, open_cache, verify

__all__ = ["Cache", "Manifest", "open_cache", "verify"]
