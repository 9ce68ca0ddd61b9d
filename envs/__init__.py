"""Rules, views, judge and words of the games."""
