"""Classifiers: subclasses of Classifier, created from (num_classes, image_shape), that map normalised images to logits (n, num_classes)."""
