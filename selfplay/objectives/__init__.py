"""From finished games to what is learnt: returns, advantages, training rows, and the losses on them."""
