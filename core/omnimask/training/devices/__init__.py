"""Devices and processes: ranks, replicas, FSDP, precision, memory."""
