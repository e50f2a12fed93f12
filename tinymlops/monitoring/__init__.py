"""Monitor a model in use: compare its answers with the outcomes and its features with the training rows."""
