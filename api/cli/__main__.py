"""`python -m api.cli`: the command where it is not on PATH."""

from api.cli.command import main

if __name__ == "__main__":
    main()
