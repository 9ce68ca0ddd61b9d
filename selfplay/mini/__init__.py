"""How the embedded model's base is made."""
