"""Audio in: from files, pipes and microphones to mono samples."""
