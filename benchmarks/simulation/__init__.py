"""A day of traffic in a minute: discrete events, decided by the queue's real scripts on a real Redis."""
