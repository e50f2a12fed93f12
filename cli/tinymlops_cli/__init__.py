"""The command line of tinymlops."""
