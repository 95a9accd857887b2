"""A Tron node for tests and development: real blocks, signatures, fees and contracts, in one process."""
