"""Tests of `feedback_platform.compile`."""
