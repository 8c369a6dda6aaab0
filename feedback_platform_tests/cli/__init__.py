"""Tests of the `feedback` command."""
