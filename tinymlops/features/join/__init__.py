"""The point-in-time join of two tables: public, and without a workspace."""
