"""Diffusion: schedules, masks, forward and reverse process, each a function of drawn numbers."""
