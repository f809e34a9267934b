"""The Hydra configuration tree, installed as `brainuad.configs`."""
