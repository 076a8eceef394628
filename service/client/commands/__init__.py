"""The commands of `fgd`: a command is a function, or a group of functions, with its own name."""
