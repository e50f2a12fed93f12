"""The verbs of a workspace, a class for each subject; every verb only delegates."""
