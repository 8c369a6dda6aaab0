"""Tests of feedback_platform.report."""
