"""What every tier's process shares."""
