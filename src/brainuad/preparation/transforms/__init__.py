"""The steps of a preparation as MONAI dictionary transforms."""
