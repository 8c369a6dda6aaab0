"""Tests of the lake: real Delta tables in temporary folders."""
