"""Generated news reports with annotations and dates."""
