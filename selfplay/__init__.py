"""From episodes to better weights: rewards, objectives, learner, loop, measurement, command line."""
