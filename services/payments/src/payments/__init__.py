"""Payments: gateways, wallets, the scanner of the chain, and sweeps to the main wallet."""
