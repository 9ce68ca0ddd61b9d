"""Who plays without a model's engine: scripted, random, human; and how a model is asked as a player."""
