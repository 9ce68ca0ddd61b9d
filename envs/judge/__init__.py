"""The judge: declarations, word forms, and text with its disguises removed."""
