"""From finished games to what is learnt: returns, advantages, training samples, and the losses on them."""
