"""One call for whoever has a GPU for minutes: see __main__.py."""
