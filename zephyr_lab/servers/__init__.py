"""Real PostgreSQL and Valkey: of our own, from wheels, or yours, by DSN."""
