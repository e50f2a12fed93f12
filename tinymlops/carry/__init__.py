"""Runs that come from elsewhere and go elsewhere: readers of other tools' files, and the file of `runs export`."""
