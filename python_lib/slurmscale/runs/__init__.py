"""One run, from the request to its recorded end."""
