"""Several engines of one kind as one engine: when one fails, the next does the work."""
