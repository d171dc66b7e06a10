"""Which trials run, and what a person sees meanwhile. Ray lives here alone, and is imported when it is needed."""
