"""Tests of the benchmarks, which are no part of the package."""
