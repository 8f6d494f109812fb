"""A state-space encoder for omnimask."""
