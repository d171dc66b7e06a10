"""Aggregators, one a file. `spec.doors.AggregatorName` lists them; `base.Aggregator` says what one is."""
