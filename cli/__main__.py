"""`python -m cli` is `webops`."""

from cli.main import main

if __name__ == "__main__":
    main()
