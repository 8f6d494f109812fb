"""Arrays in one buffer, on the way from loader workers to the main process and to a device."""
