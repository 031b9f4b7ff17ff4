"""The data plane: the only code that touches traffic. It never imports `observe`."""
