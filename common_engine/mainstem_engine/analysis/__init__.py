"""What is computed by walking rows in order of time: windows, fills, and the functions of analysis.

Pure: arrays in, arrays out. Nothing here knows SQL, the catalog or the disk.
"""
