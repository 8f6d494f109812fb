"""Human-readable descriptions and reconstructions of a model."""
