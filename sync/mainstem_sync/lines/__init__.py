"""Who wrote what when: epochs of nodes, how a log is recognised, what forks left behind, HELLO."""
