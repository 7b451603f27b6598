"""Files and batches that survive a restart."""
