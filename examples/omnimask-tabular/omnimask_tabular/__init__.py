"""Tables for omnimask."""
