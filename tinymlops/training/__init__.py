"""From training data to a logged model: runs, model files, signatures, metrics."""
