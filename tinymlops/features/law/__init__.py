"""What is said about definitions and about the rows that they bring: checks on data."""
