"""Tests of feedback_platform.stages."""
