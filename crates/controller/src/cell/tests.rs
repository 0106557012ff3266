//! The Cell and route controllers together, on the in-memory store and router.
