"""What is written down about a run while it works: the load of the machine and the output on the console."""
