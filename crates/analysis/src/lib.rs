//! The IO half of analysis. The engine is planned; nothing lives here yet.
