"""The public face of the robust-training benchmark."""
