"""Diffusion: schedules, noise, masks and the two directions, each a function of what was drawn."""
