"""The one training loop, its batches, evaluation and checkpoints."""
