"""Tests of personal data at the door."""
