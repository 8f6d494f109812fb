"""Position components: encodings of slot positions."""
