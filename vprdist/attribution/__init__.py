"""What each class adds, said of a finished search."""
