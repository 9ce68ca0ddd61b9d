"""Players: scripted, random, human; and a language model as a player."""
