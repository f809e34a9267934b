"""Noise: of diffusion models, simplex noise, and coarse noise of denoising autoencoders."""
