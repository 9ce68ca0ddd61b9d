"""Files of a run: folder, checkpoints, episodes, token streams, summary, exports."""
