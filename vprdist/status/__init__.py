"""Looking at sweeps that run, and taking a hand in them, from any terminal that sees the run folder."""
