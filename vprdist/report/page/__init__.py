"""The page of a sweep: one HTML file that needs no network. `contents` says what is on it, `build` writes it."""
