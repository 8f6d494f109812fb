"""Position components: where a slot is."""
