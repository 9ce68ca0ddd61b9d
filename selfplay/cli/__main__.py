"""`python -m sparring.selfplay.cli`: the command `sparring`."""

from .main import entry

if __name__ == "__main__":
    entry()
