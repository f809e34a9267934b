"""Scans synthesised from label maps of real heads.

`partial_volumes` and `bank` keep heads on disk, `warp` makes a new anatomy of one, `contrast` and
`healthy` image it, `scanner` adds what a scanner does, `lesions` paints lesions, and `scan` puts
them together. Each draws its numbers first and computes after.
"""
