"""Masked diffusion: schedule, masks and the two directions, each a function of what was drawn."""
