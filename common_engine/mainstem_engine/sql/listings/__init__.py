"""SHOW, COUNT and DESCRIBE: what there is, as tables."""
