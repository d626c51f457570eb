"""A data set, a label noise, an imbalance, a model, a method, a trainer and an experiment for the robust training benchmark."""
