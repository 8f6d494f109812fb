"""Data pipeline on the host, from a data set to packed batches."""
