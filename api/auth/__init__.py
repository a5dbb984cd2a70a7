"""Who is calling: passwords, the gate before every route, and the reader that routes ask for."""

from api.auth.gate import CurrentReader, Gate, current_reader
from api.auth.passwords import Passwords, new_password

__all__ = ["CurrentReader", "Gate", "Passwords", "current_reader", "new_password"]
