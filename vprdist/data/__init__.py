"""Places: MSLS trees, positives, graded similarity, pair sampling, and the built-in demo city. No torch here."""
