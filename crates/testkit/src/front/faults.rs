//! The seam for faults: a test decides before and after each call whether it fails, waits or is lost.

use std::time::Duration;

use okra_judge::record::LbCall;
use parking_lot::Mutex;

use super::error::AwsError;

/// A call as the front sees it, before it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallInfo {
    /// The access key id that signed the request, or `foreign`.
    pub caller: String,
    /// The service of the credential scope, for example `elasticloadbalancing`.
    pub service: String,
    /// The operation, for example `ModifyRule`.
    pub operation: String,
}

/// What becomes of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It goes its way.
    #[default]
    Pass,
    /// It is answered with this error; before the call, nothing is done.
    Fail(AwsError),
    /// It goes its way after this time.
    Delay(Duration),
    /// The connection is closed without an answer; before the call, nothing is done.
    Drop,
}

/// Faults of the AWS API. Both methods are called for every call, in the order of arrival, and must not block.
pub trait Faults: Send + Sync {
    /// Before a call is judged.
    fn before(&self, call: &CallInfo) -> Verdict {
        let _ = call;
        Verdict::Pass
    }

    /// After a call was carried out or refused, before it is answered. `Fail` and `Drop` here leave a
    /// change in place whose caller does not know of it.
    fn after(&self, call: &CallInfo, outcome: &LbCall) -> Verdict {
        let _ = (call, outcome);
        Verdict::Pass
    }
}

/// No faults.
#[derive(Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {}

/// Fails one call of an operation.
#[derive(Debug)]
pub struct FailNth {
    operation: String,
    nth: u64,
    error: AwsError,
    seen: Mutex<u64>,
}

impl FailNth {
    /// Fails the `nth` call (from 1) of `operation` with `error`.
    pub fn new(operation: &str, nth: u64, error: AwsError) -> Self {
        Self { operation: operation.to_owned(), nth, error, seen: Mutex::new(0) }
    }
}

impl Faults for FailNth {
    fn before(&self, call: &CallInfo) -> Verdict {
        if call.operation != self.operation {
            return Verdict::Pass;
        }
        let mut seen = self.seen.lock();
        *seen += 1;
        if *seen == self.nth { Verdict::Fail(self.error.clone()) } else { Verdict::Pass }
    }
}
