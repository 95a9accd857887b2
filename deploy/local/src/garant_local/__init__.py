"""The whole system on one machine: real servers from pip-installed binaries, and the four services."""
