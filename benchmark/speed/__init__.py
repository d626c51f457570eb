"""`python -m benchmark.speed`: costs as ratios, measured in one run in which contenders take turns."""
