"""``python -m featflow``: the ``featflow`` command, where its script is not on the path."""

from featflow.cli import main

if __name__ == "__main__":
    main()
