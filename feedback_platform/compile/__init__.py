"""Compilation without Dagster: windows, manifests, advancing stages, publication, rebuild, ledger, explanation."""
