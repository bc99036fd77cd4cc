"""What dirt costs a tuned model, and how much of it cleaning gives back: alone, and with somebody who answers."""
