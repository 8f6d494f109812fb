"""Metrics, logs, progress display and observers."""
