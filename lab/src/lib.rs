//! Starts and stops processes, finds ports, waits for readiness.
