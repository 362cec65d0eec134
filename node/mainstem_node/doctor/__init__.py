"""What ``mainstem doctor`` looks at: everything that makes a node fail later."""
