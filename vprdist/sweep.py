"""python -m vprdist.sweep FILE [dotted.key=value …]: run a sweep and show its leaderboard (see `cli.sweep`)."""

from __future__ import annotations

import sys

from vprdist.cli.sweep import main

if __name__ == "__main__":
    sys.exit(main())
