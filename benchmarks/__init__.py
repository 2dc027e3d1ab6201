"""Measurements of the whole product, as a client sees it. Run `make bench`, or `python -m benchmarks.speed --help`."""
