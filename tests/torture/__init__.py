"""Torture: live traffic through the gateway while processes are killed and put to sleep by a plan from a seed."""
