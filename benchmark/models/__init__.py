"""Classifiers: subclasses of Classifier made from (num_classes, image_shape), which map normalised images to logits (n, num_classes)."""
