"""Arrays in, arrays out: the point-in-time rule, windows, exact sums, drift."""
