//! Ampacity.
