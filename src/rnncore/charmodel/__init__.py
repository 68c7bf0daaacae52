"""The application of the command line: a character-level language model, which uses rnncore as a user does."""
