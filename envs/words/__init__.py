"""Lists of secret words, frequencies, parts of speech."""
