"""Deals: the state machine, disputes, and the money commands that move what a deal holds."""
