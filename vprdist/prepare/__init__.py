"""What a sweep needs, looked at before anything starts: data, cache, weights; digests and the trial's id."""
