"""Sizes for people."""


def size(num_bytes: float) -> str:
    """`1536` as `1.5 kB`: powers of 1000, as disks are sold."""
    if num_bytes < 1000:
        return f"{num_bytes:.0f} B"
    for unit in ("kB", "MB", "GB"):
        num_bytes /= 1000
        if num_bytes < 999.5:
            return f"{num_bytes:.1f} {unit}"
    return f"{num_bytes / 1000:.1f} TB"
