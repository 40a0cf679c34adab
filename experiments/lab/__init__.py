"""What the experiments share: options and run folder, claims, the lesson's network, and the larger figures."""
