"""One run between floor and ceiling, for people: web page, Markdown, terminal tables."""
