"""Benchmarks: performance claims, each beside its alternative in one run. Never part of the tests."""
