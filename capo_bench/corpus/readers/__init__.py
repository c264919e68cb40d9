"""One module a file format that corpora come in."""
