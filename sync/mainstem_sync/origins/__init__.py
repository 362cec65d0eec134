"""What a receiver knows of each origin: what arrived, what its ids mean here, what is to come."""
