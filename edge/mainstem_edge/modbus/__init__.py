"""Modbus: register maps, the blocks they are read in, the line, and the state of its units."""
