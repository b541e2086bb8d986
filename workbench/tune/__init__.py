"""Making an op faster: variants of its kernel, judged, then timed; the winner is reviewed."""
