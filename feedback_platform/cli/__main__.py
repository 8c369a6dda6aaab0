"""`python -m feedback_platform.cli`: the `feedback` command where its script is not on the path."""

from feedback_platform.cli import main

if __name__ == "__main__":
    main(prog_name="feedback")
