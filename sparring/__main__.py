"""`python -m sparring`: the command line, wherever Python runs without its scripts on the path."""

from sparring.selfplay.cli.main import entry

if __name__ == "__main__":
    entry()
