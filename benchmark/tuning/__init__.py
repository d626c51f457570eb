"""Search for options of methods: spaces, configurations that Optuna proposes, and the files that describe a search."""
