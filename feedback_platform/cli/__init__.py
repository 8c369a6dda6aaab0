"""The `feedback` command. Heavy modules are imported by the commands that need them, so that help is instant."""

from feedback_platform.cli.app import main

__all__ = ["main"]
