"""What people look at: words, pictures and style of pages, files that are shared, and the sum of a workspace in a notebook.

The pages of the server are made of the same parts; this knows nothing of HTTP.
"""
