"""How strong a model is, with intervals, and whether a run is healthy."""
