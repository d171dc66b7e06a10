"""A program of the user's own as a trial: it is started, told to stop, and what it leaves becomes a result."""
