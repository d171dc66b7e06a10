"""Places: layouts of data sets, positives, graded similarity, pair sampling. No torch here."""
