"""What makes a result of yesterday a result of today: one number, part of every trial's id.

Raise COMPUTATION by one whenever the same trial would give other numbers than before: another decoder of pictures,
another grid of positions, another order of random draws, a mended loss, another default of a library that changes
results. Old results then stay what they are, under the ids that they have, and are computed anew; a leaderboard never
ranks the two together.

Leave it alone where the numbers stay equal: new choices that are off by default, faster code that gives the same
bits, messages, reports, plans. A field that is added to a trial says by `hashed_unless` which value is the old
behaviour; that needs no new number either. What is kept between trials (a cache, label files) has marks of its own.

The number 1 is left out of the hash: trials that were run before there was such a number keep their ids.

What each number changed:

- 2: pictures are decoded whole, where JPEGs of twice the size were decoded at a smaller scale; they stand upright, as
  EXIF says; of grey pictures of 16 bits the high byte counts, where they were white.
"""

from __future__ import annotations

FIRST = 1
"""The computation of every trial that names none."""

COMPUTATION = 2
"""The computation of this code, and of every trial that it makes."""

EARLIER = (FIRST,)
"""Those that this code goes on with, for jobs that were submitted before: `data.images.loader_of` reads as they did."""
