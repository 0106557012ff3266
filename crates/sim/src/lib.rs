//! The simulator. The scheduler is planned; nothing lives here yet.
