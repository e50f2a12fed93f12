"""The routes, a module for each noun: each makes its handlers for one workspace."""
