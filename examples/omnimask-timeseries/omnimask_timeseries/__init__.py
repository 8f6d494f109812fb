"""Time series for omnimask."""
