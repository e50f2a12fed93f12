"""What holds of all definitions together: their pages, and what is missing from them."""
