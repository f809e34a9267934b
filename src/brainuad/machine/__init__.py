"""The computer and its files: atomic writes, locks, ranks, memory, threads, provenance."""
