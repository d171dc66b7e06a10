"""Attention recomputed in float64 loops: one file a word, each with `slowly(module, features_BChw)`."""
