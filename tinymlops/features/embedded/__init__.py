"""What rows are embedded to: columns of vectors, the vectors of texts, and the models that make them."""
