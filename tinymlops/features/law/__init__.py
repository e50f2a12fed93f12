"""What definitions mean for everything that reads them: what a change reaches, and why things are as they are."""
