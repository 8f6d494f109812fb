"""Store of a data set's tokens: made once by several processes, and mapped from disk afterwards."""
