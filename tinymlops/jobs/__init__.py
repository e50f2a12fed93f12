"""The runner of jobs, and what a job is told."""
