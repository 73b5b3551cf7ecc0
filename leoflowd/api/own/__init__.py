"""What is ours alone: the pages that join the unmodified UI as external views, and what they read."""
