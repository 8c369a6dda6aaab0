"""Tests of feedback_platform.engines."""
