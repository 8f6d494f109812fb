"""The image modality."""
