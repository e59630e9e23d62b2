"""Array libraries by one interface, `protocol.Arrays`: a backend is one file that implements it."""
