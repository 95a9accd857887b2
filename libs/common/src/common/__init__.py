"""What every service shares: time, ids, money, errors, database, events, logs and keys. No business nouns."""
