"""Conversations and games as data: word sets, file formats, collecting, judging again."""
