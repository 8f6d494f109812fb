"""From a data set to packed batches, on the host."""
