"""Tests of the Dagster component: assets, checks, sensors."""
