"""What is learnt from: image sources, label noise, class imbalance, splits and augmentation."""
