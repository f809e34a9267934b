"""Following a run elsewhere: W&B, and what may leave the machine."""
