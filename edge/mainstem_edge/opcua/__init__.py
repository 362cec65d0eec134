"""OPC UA: sessions, what is watched, and what values mean. Everything in here imports asyncua, so
nothing outside may import it before a configuration asks for it."""
