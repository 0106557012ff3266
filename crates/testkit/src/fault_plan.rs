//! A declarative plan of faults: which call of whom is struck with what, counted from the start of the plan.
//!
//! The plan knows nothing of what a fault is: the AWS front and the proxy before the API server bring their own. It is
//! data: drawn from a seed or written by hand, printed as one line of JSON, and read back from it, so that a failed run
//! can be repeated.

use std::fmt;
use std::str::FromStr;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Strikes for as long as the plan lasts.
pub const ALWAYS: u64 = u64::MAX;

/// The latest first call that [`FaultPlan::seeded`] strikes: later than a rollout makes of most operations.
const SEEDED_NTH: u64 = 6;
/// The longest row of calls that [`FaultPlan::seeded`] strikes.
const SEEDED_TIMES: u64 = 3;

/// One fault, and the calls that it strikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlannedFault<F> {
    /// The call: `ModifyRule`, or for the API server `PATCH cells/status`. A `*` at the end stands for any rest, alone
    /// for any call.
    pub call: String,
    /// Who calls; anybody if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Only calls about something whose name (an ARN, a Cell) contains this text; all if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The first struck call, from 1, among the calls that fit all of the above.
    pub nth: u64,
    /// How many of them in a row are struck.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub times: u64,
    /// What strikes.
    pub fault: F,
}

fn once() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_once(times: &u64) -> bool {
    *times == 1
}

impl<F> PlannedFault<F> {
    /// `fault` at the `nth` call (from 1), once, whoever makes it.
    pub fn new(call: &str, nth: u64, fault: F) -> Self {
        Self { call: call.to_owned(), caller: None, about: None, nth, times: 1, fault }
    }

    /// Only for calls about something whose name contains this.
    #[must_use]
    pub fn about(mut self, about: &str) -> Self {
        self.about = Some(about.to_owned());
        self
    }

    /// Only for calls of this caller.
    #[must_use]
    pub fn by(mut self, caller: &str) -> Self {
        self.caller = Some(caller.to_owned());
        self
    }

    /// That many calls in a row; [`ALWAYS`] for all that follow.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    fn fits(&self, caller: &str, call: &str, about: &[&str]) -> bool {
        let named = match self.call.strip_suffix('*') {
            Some(start) => call.starts_with(start),
            None => call == self.call,
        };
        named
            && self.caller.as_deref().is_none_or(|only| only == caller)
            && self.about.as_deref().is_none_or(|part| about.iter().any(|name| name.contains(part)))
    }

    fn strikes_at(&self, count: u64) -> bool {
        count >= self.nth && count - self.nth < self.times
    }
}

/// A fault that struck.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Strike<F> {
    /// Its position in the plan, from 0.
    pub index: usize,
    /// Who called.
    pub caller: String,
    /// The call.
    pub call: String,
    /// Which of the calls that fit the planned fault it was, from 1.
    pub nth: u64,
    /// What struck.
    pub fault: F,
}

#[derive(Debug)]
struct Counted<F> {
    /// For each planned fault, how many calls fitted it.
    counts: Vec<u64>,
    struck: Vec<Strike<F>>,
}

impl<F> Default for Counted<F> {
    fn default() -> Self {
        Self { counts: Vec::new(), struck: Vec::new() }
    }
}

/// A plan of faults, which counts the calls that it is told of. Counts begin at zero and are no part of its text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultPlan<F> {
    /// What it was drawn from; 0 if it was written by hand.
    pub seed: u64,
    /// The faults. Where several would strike one call, the first one does; all of them count it.
    pub faults: Vec<PlannedFault<F>>,
    #[serde(skip, default = "Mutex::default")]
    counted: Mutex<Counted<F>>,
}

impl<F> Default for FaultPlan<F> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<F> FaultPlan<F> {
    /// A plan that was written by hand.
    pub fn new(faults: Vec<PlannedFault<F>>) -> Self {
        Self { seed: 0, faults, counted: Mutex::default() }
    }

    /// The same plan for the calls of one caller alone.
    #[must_use]
    pub fn only_by(mut self, caller: &str) -> Self {
        for planned in &mut self.faults {
            planned.caller = Some(caller.to_owned());
        }
        self
    }
}

impl<F: Clone> FaultPlan<F> {
    /// A plan of one fault at the `nth` call (from 1).
    pub fn once(call: &str, nth: u64, fault: F) -> Self {
        Self::new(vec![PlannedFault::new(call, nth, fault)])
    }

    /// Draws `count` faults at calls of `calls`; the same arguments always give the same plan. Empty if there is
    /// nothing to draw from.
    pub fn seeded(seed: u64, calls: &[&str], faults: &[F], count: usize) -> Self {
        let mut draw = Draw(seed);
        let planned = (0..count).filter_map(|_| {
            let (call, fault) = (draw.one_of(calls)?, draw.one_of(faults)?);
            let planned = PlannedFault::new(call, 1 + draw.below(SEEDED_NTH), fault.clone());
            Some(planned.times(1 + draw.below(SEEDED_TIMES)))
        });
        Self { seed, faults: planned.collect(), counted: Mutex::default() }
    }

    /// Counts a call; the fault that strikes it, if one does.
    pub fn strikes(&self, caller: &str, call: &str) -> Option<F> {
        self.strikes_about(caller, call, &[])
    }

    /// The same for a call about these things.
    pub fn strikes_about(&self, caller: &str, call: &str, about: &[&str]) -> Option<F> {
        let mut counted = self.counted.lock();
        counted.counts.resize(self.faults.len(), 0);
        let mut strike = None;
        for (index, (planned, count)) in self.faults.iter().zip(&mut counted.counts).enumerate() {
            if !planned.fits(caller, call, about) {
                continue;
            }
            *count += 1;
            if strike.is_none() && planned.strikes_at(*count) {
                let (caller, call) = (caller.to_owned(), call.to_owned());
                strike = Some(Strike { index, caller, call, nth: *count, fault: planned.fault.clone() });
            }
        }
        let strike = strike?;
        counted.struck.push(strike.clone());
        Some(strike.fault)
    }

    /// The faults that struck so far, in order.
    pub fn struck(&self) -> Vec<Strike<F>> {
        self.counted.lock().struck.clone()
    }

    /// The positions of the faults that have not struck as often as planned; one that always strikes is done once it
    /// struck. A test that ends with some left has not tested what it planned.
    pub fn pending(&self) -> Vec<usize> {
        let counted = self.counted.lock();
        let is_done = |index: usize, planned: &PlannedFault<F>| {
            let struck = counted.struck.iter().filter(|strike| strike.index == index).count() as u64;
            struck > 0 && (struck >= planned.times || planned.times == ALWAYS)
        };
        self.faults.iter().enumerate().filter(|(index, planned)| !is_done(*index, planned)).map(|(i, _)| i).collect()
    }
}

impl<F: Serialize + Clone> FaultPlan<F> {
    /// Tells the reader of a failed test what the plan was and what struck: called where a plan's owner is dropped, it
    /// prints only while the thread panics.
    pub fn tell_if_panicking(&self, whose: &str) {
        if !self.faults.is_empty() {
            tell_if_panicking(whose, self, &self.struck());
        }
    }
}

/// The same for a plan that is part of another.
#[expect(clippy::print_stderr, reason = "the output of a failed test is where its reader looks")]
pub(crate) fn tell_if_panicking(whose: &str, plan: &impl fmt::Display, struck: &impl Serialize) {
    if std::thread::panicking() {
        let struck = serde_json::to_string(struck).unwrap_or_default();
        eprintln!("the fault plan of {whose}, to repeat the run: {plan}\nwhat struck: {struck}");
    }
}

/// One line of JSON.
impl<F: Serialize> fmt::Display for FaultPlan<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Reads what `Display` printed.
impl<F: DeserializeOwned> FromStr for FaultPlan<F> {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same on every machine and for all time.
#[derive(Debug)]
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0 and less than `bound`; the bias of the remainder is no concern for bounds this small.
    fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let at = self.below(items.len() as u64);
        items.get(usize::try_from(at).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;

    type Plan = FaultPlan<String>;

    fn fault(call: &str, nth: u64, name: &str) -> PlannedFault<String> {
        PlannedFault::new(call, nth, name.to_owned())
    }

    #[test]
    fn strikes_the_planned_calls_and_no_others() {
        let plan = Plan::new(vec![
            fault("ModifyRule", 2, "second").times(2).by("okra"),
            fault("Describe*", 1, "read").about("web-7"),
            fault("*", 6, "any"),
        ]);
        assert_eq!(plan.strikes("okra", "ModifyRule"), None);
        assert_eq!(plan.strikes("other", "ModifyRule"), None, "another caller does not count");
        assert_eq!(plan.strikes("okra", "ModifyRule").as_deref(), Some("second"));
        assert_eq!(plan.strikes_about("okra", "DescribeRules", &["rule/web-6"]), None);
        assert_eq!(plan.pending(), [0, 1, 2]);
        assert_eq!(plan.strikes_about("okra", "DescribeRules", &["lb", "rule/web-7"]).as_deref(), Some("read"));
        assert_eq!(plan.strikes("okra", "ModifyRule").as_deref(), Some("second"), "the first in the plan wins");
        assert_eq!(plan.pending(), [2], "the call was counted, and its moment is over");
        assert_eq!(plan.strikes("okra", "ModifyRule"), None);
        let struck: Vec<_> = plan.struck().into_iter().map(|strike| (strike.index, strike.nth, strike.call)).collect();
        let call = |name: &str| name.to_owned();
        assert_eq!(struck, [(0, 2, call("ModifyRule")), (1, 1, call("DescribeRules")), (0, 3, call("ModifyRule"))]);
    }

    #[test]
    fn what_always_strikes_never_stops() {
        let plan = Plan::new(vec![fault("*", 3, "down").times(ALWAYS)]);
        let struck: Vec<bool> = (0..6).map(|_| plan.strikes("a", "b").is_some()).collect();
        assert_eq!(struck, [false, false, true, true, true, true]);
        assert_eq!(plan.pending(), [0; 0]);
    }

    #[test]
    fn a_seed_gives_one_plan_which_is_a_line_of_json() {
        let faults = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let draw = |seed| Plan::seeded(seed, &["X", "Y"], &faults, 20).only_by("okra");
        let (plan, text) = (draw(7), draw(7).to_string());
        assert_eq!(plan.to_string(), text);
        assert!(draw(8).to_string() != text, "another seed gives another plan");
        assert!(!text.contains('\n') && text.starts_with(r#"{"seed":7,"faults":[{"call":""#), "{text}");
        let read: Plan = text.parse().unwrap();
        assert_eq!((read.seed, &read.faults), (7, &plan.faults));
        assert_eq!(plan.faults.len(), 20);
        for name in &faults {
            assert!(plan.faults.iter().any(|planned| planned.fault == *name), "{name} is never drawn");
        }
        assert!(plan.faults.iter().all(|p| p.nth >= 1 && p.nth <= SEEDED_NTH && p.times >= 1));
        assert_eq!(Plan::seeded(1, &[], &faults, 3).faults, []);
        assert!("{\"seed\":1,\"faults\":[],\"fault\":1}".parse::<Plan>().is_err(), "a misspelt plan is no plan");
    }
}
