"""How reads, ticks, housekeeping, backups and reports grow with what is stored."""
