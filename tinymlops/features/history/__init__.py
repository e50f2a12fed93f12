"""Features of any moment, out of all rows that a source ever had."""
