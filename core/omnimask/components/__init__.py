"""omnimask's own components, by kind. Recipes name them; :mod:`omnimask.plugin` registers them."""
