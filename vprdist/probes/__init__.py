"""One network evaluated under many arms: the order, its worker, the evaluation, the reading."""
