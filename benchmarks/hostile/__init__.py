"""A campaign of unlucky and hostile input against every reader of files; see __main__ for the command."""
