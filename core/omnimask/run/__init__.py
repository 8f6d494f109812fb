"""Between a recipe and its run: devices, folders, the trainer's parts, resuming, figures. Commands and Python users call this."""
