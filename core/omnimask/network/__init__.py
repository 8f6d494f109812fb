"""Building blocks of networks over packed sequences, and the model. Registers nothing."""
