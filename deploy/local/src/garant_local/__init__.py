"""The whole system on one machine: real servers from pip-installed binaries, the four services and the signer."""
