"""What definitions mean for everything that reads them: what a change reaches, why things are as they are, what checks say."""
