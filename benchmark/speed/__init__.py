"""`python -m benchmark.speed`: what things cost, as ratios measured in one run, contenders taking turns."""
