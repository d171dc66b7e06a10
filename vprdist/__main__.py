"""`python -m vprdist`: the same as `vprdist`."""

import sys

from vprdist.cli import main

sys.exit(main())
