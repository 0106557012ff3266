//! The rules of section 3.2 of the specification, on a small world that does what plans say.

mod analyses;
mod objects;
mod phases;
mod properties;
mod replica_sets;
mod world;
