"""Who has won by saying what: declarations, forms of words, text without disguises."""
