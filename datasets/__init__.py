"""Training data: image sources, label noise, class imbalance, splits and augmentation."""
