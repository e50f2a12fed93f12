"""Features at any time, from all rows that a source ever had."""
