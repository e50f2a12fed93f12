"""What users declare: nouns and expressions, and the data made from them."""
