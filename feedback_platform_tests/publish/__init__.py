"""Tests of `feedback_platform.publish`."""
