"""The training loop, its batches, evaluation and checkpoints."""
