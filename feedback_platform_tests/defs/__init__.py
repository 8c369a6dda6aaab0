"""Tests of the definitions that Dagster loads."""
