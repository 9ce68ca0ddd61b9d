"""Games as Gymnasium, PettingZoo and TextArena environments."""
