"""``python -m bursar.cli``."""

from bursar.cli.main import main

if __name__ == "__main__":
    main()
