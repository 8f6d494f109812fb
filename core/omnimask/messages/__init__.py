"""Text of messages: suggestions, escapes, and redirection of output. Imports no torch."""
