"""One file for each kind of tree."""
