"""The whole path on real parts: separate `orderlog` processes, as people start them."""
