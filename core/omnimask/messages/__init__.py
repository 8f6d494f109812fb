"""Text of messages: suggestions, escapes, and where output goes. Imports no torch."""
