"""``python -m rnnlib``: the same as the command ``rnnlib``."""

from rnnlib.cli import main

if __name__ == "__main__":
    main()
