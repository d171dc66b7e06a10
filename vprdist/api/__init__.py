"""What a notebook uses: `vprdist.load`, `vprdist.run` and `vprdist.evaluate`, and what they answer with."""
