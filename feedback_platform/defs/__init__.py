"""Dagster definitions: resources, jobs, sensors, schedules and one folder per dataset."""
