"""How a model in use is doing: its answers beside what happened and beside its training rows."""
