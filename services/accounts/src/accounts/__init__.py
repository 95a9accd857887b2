"""Accounts: users, their balances, the double-entry ledger and API keys."""
