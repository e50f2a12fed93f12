"""Feature definitions, and everything computed from them."""
