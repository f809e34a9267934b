"""Freed memory stays with the process, which makes a training step on a CPU faster.

glibc returns every large block to the system when it is freed, and the system fills the pages of
the next block with zeros. Without that a step is 1.5 times as fast for `fpi_3d`, and 1.0 to 1.1
times for other methods (`experiments/benchmarks/kept_memory.json`). See `mallopt(3)`.
"""

import ctypes
import os
import platform

SWITCH = "BRAINUAD_KEEP_MEMORY"
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_memory() -> bool:
    """Tell glibc to keep freed memory. Calling it again has no effect.

    The memory of the process then never shrinks, and its peak is 3 to 23 % higher. Nothing is done
    without glibc, where the environment already configures an allocator, and with
    BRAINUAD_KEEP_MEMORY=0.

    Returns:
        True where the allocator accepts it.
    """
    configured = any(name.startswith("MALLOC_") for name in os.environ)
    configured |= bool({"LD_PRELOAD", "GLIBC_TUNABLES"} & set(os.environ))
    if os.environ.get(SWITCH) == "0" or configured or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    # No block by mmap, no trimming, and 64 MiB at a time from the system.
    options = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 2**26))
    return all([libc.mallopt(*option) for option in options])
