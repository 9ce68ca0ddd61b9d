"""Who plays: scripted, human and language-model agents."""
