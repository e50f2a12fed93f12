"""Current features: the rows that a read can still need, laid out in the online store, and the reads."""
