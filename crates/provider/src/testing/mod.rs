//! Fakes of the ports, for tests and the simulator: deterministic, in memory, with faults on demand.

mod cluster;
mod fakes;
mod faults;
mod memory;
mod router;

pub use self::{
    cluster::{FakeInventory, FakeRemoteClusters, FakeTargetGroups},
    fakes::{AlwaysLeader, FixedClock, RecordingEvents, SeededEntropy},
    faults::{Call, CallVerb, Fault},
    memory::MemoryBackend,
    router::{AppliedChange, FakeRouter, FakeRule, RouterFault, RouterVerb},
};
