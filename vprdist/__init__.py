"""vprdist: which semantic classes help a network recognise a place?"""

__version__ = "0.1.0"
