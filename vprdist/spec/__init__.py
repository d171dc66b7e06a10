"""What is wanted, typed and hashed: sweep files, trials, profiles, results. Never imports torch."""
