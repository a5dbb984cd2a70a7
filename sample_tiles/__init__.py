"""An invented survey round: generator, committed miniature and demo."""
