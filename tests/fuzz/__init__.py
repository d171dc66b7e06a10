"""Mutations of every file that a person, a full disk or a stranger can put before the product.

`python -m tests.fuzz` runs many and prints a table; `test_fuzz.py` runs 2,000 of the same. A file of `formats/` holds
`FORMATS`, a list of `Format`; a new one is found by itself.
"""
