"""What users declare: nouns, expressions, and the data that they become."""
