"""Results as a person reads them: rows over seeds, the leaderboard, the paper's values beside it."""
