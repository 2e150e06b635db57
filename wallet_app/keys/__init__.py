"""Key creation, OS keyring, encrypted file, enrolment."""
