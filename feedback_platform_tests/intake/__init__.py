"""Tests of intake: the event log and the importers."""
