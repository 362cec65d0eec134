"""What is proven of received rows, what is not, and what follows from it."""
