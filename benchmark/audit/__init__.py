"""Which labels of a user's own data are wrong? `python -m benchmark.audit` ranks them and measures how far the ranking can be trusted."""
