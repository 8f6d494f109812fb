"""Corruptors: map maskings to views."""
