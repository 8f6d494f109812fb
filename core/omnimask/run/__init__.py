"""Running of recipes: devices, folders, the trainer's parts, resuming, figures. Used by commands and Python users."""
