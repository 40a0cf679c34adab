"""Data sets, drawings, and the way from labelled images to batches."""
