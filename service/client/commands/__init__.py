"""One module for each command of `fgd`; the function has the command's name."""
