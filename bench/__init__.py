"""How fast the ledger and the API are beside PostgreSQL's own yardstick, measured on this machine in one run."""
