"""Commands: what people and programs want of equipment, carried out where the equipment is."""
