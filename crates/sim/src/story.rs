//! The story of a run: what there is, what people and clouds do, and what goes wrong when. Made from a seed, and
//! without anything that a run decides, so that elements can be dropped from it one by one.

use std::fmt;

use okra_api::{RunPhase, Verb};
use serde_json::{Value, json};

use crate::rng::Rng;

/// Until when things happen, in milliseconds. Then faults and inputs stop.
pub const HORIZON: u64 = 240_000;

/// A whole story.
#[derive(Clone, Debug)]
pub struct Story {
    /// What it was made from; also the order of everything in the run.
    pub seed: u64,
    /// How many processes there are.
    pub processes: usize,
    /// Whether they contend for a lease.
    pub elected: bool,
    /// The Cells.
    pub cells: Vec<CellStory>,
    /// What happens, by time.
    pub happenings: Vec<Happening>,
}

/// A Cell of a story.
#[derive(Clone, Debug)]
pub struct CellStory {
    /// Its name; the namespace is `default`.
    pub name: String,
    /// Its spec.
    pub spec: Value,
    /// Every canary share that its steps ask for, edited ones too.
    pub shares: Vec<u32>,
}

/// A target group of a story.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The Cell that selects it.
    pub cell: usize,
    /// Its version.
    pub version: u8,
    /// Counted from 0.
    pub index: u8,
}

impl Group {
    /// The object's name.
    pub fn name(&self) -> String {
        format!("{}-v{}-{}", cell_name(self.cell), self.version, self.index)
    }

    /// The ARN.
    pub fn arn(&self) -> String {
        format!("arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/{}/0123456789abcdef", self.name())
    }
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Happening {
    /// When, in milliseconds since the beginning.
    pub at: u64,
    /// What.
    pub what: What,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// The server refuses for now, nothing happened.
    Busy,
    /// The server asks to slow down.
    Throttled,
    /// The connection breaks before the call arrives.
    Lost,
    /// The call takes effect and its answer is lost.
    LostAnswer,
    /// Somebody else was faster; for the load balancer, access is denied.
    Denied,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum What {
    /// A target group object appears.
    Add(Group),
    /// It vanishes.
    Remove(Group),
    /// Its labels change: no longer selected, or back.
    Select(Group, bool),
    /// Its version label becomes unreadable, or is mended.
    Spoil(Group, bool),
    /// A person drains it, or lets it back.
    Drain(Group, bool),
    /// So many of its three targets are healthy.
    Health(Group, u32),
    /// The cloud's target group itself is deleted.
    Gone(Group),
    /// A person asks.
    Ask {
        /// The Cell.
        cell: usize,
        /// What.
        verb: Verb,
        /// With which arguments.
        args: Vec<(&'static str, String)>,
        /// Whether the request names the rollout and step that the person saw; the number of milliseconds that they
        /// think about it.
        sight: Option<u64>,
    },
    /// The spec is edited, by a merge patch.
    Edit {
        /// The Cell.
        cell: usize,
        /// The patch of the spec.
        patch: Value,
    },
    /// A person puts a version on the blocklist.
    Block {
        /// The Cell.
        cell: usize,
        /// The version.
        version: u8,
    },
    /// The next run of the Cell ends so.
    Verdict {
        /// The Cell.
        cell: usize,
        /// How.
        phase: RunPhase,
    },
    /// Somebody else gives a group of the rule this weight, or deletes the rule.
    Foreign {
        /// The Cell.
        cell: usize,
        /// The weight of the first group; `None`: the rule is deleted.
        weight: Option<i32>,
    },
    /// The Cell is deleted.
    Delete {
        /// The Cell.
        cell: usize,
    },
    /// The process ends at its nth write from now, before or after it takes effect; 0: now.
    Crash {
        /// Which.
        process: usize,
        /// Which write.
        nth: u32,
        /// Whether that write takes effect.
        effect: bool,
    },
    /// The process stops cleanly and starts again.
    Restart(usize),
    /// The nth write from now to the API server fails.
    ApiFault {
        /// Which.
        nth: u32,
        /// How.
        failing: Failing,
    },
    /// The nth call from now of the load balancer fails.
    LbFault {
        /// Which.
        nth: u32,
        /// Only writes count.
        writes: bool,
        /// How.
        failing: Failing,
    },
    /// A process hears nothing of a kind for a while, in milliseconds.
    Deaf {
        /// Which.
        process: usize,
        /// The kind, by its place in the list of kinds.
        kind: usize,
        /// How long.
        length: u64,
    },
    /// A watch breaks and begins anew: events that nobody ever sees.
    Gap {
        /// Which.
        process: usize,
        /// The kind.
        kind: usize,
    },
    /// Reads of the load balancer lag behind.
    Lag {
        /// By how much.
        lag: u64,
        /// How long.
        length: u64,
    },
    /// The wall clock of a process is set.
    Jump {
        /// Which.
        process: usize,
        /// By how much.
        millis: i64,
    },
    /// A process does nothing for a while, and goes on.
    Freeze {
        /// Which.
        process: usize,
        /// How long.
        length: u64,
    },
    /// A process does not reach the API server for a while.
    CutOff {
        /// Which.
        process: usize,
        /// How long.
        length: u64,
    },
    /// Everything is slow for a while.
    Slow {
        /// How long.
        length: u64,
    },
}

impl What {
    /// The Cell that it is about, if it is about one.
    pub fn cell(&self) -> Option<usize> {
        match self {
            Self::Add(group)
            | Self::Remove(group)
            | Self::Select(group, _)
            | Self::Spoil(group, _)
            | Self::Drain(group, _)
            | Self::Health(group, _)
            | Self::Gone(group) => Some(group.cell),
            Self::Ask { cell, .. }
            | Self::Edit { cell, .. }
            | Self::Block { cell, .. }
            | Self::Verdict { cell, .. }
            | Self::Foreign { cell, .. }
            | Self::Delete { cell } => Some(*cell),
            _ => None,
        }
    }

    /// Whether this is a fault, which must not change the end, and not an input, which may.
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Crash { .. }
                | Self::Restart(_)
                | Self::ApiFault { .. }
                | Self::LbFault { .. }
                | Self::Deaf { .. }
                | Self::Gap { .. }
                | Self::Lag { .. }
                | Self::Jump { .. }
                | Self::Freeze { .. }
                | Self::CutOff { .. }
                | Self::Slow { .. }
        )
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8.3} s  {:?}", self.at as f64 / 1000.0, self.what)
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} process(es), elected: {}", self.seed, self.processes, self.elected)?;
        for cell in &self.cells {
            writeln!(f, "  Cell {}: {}", cell.name, cell.spec)?;
        }
        for happening in &self.happenings {
            writeln!(f, "  {happening}")?;
        }
        Ok(())
    }
}

/// Name of the Cell at a place.
pub fn cell_name(cell: usize) -> &'static str {
    if cell == 0 { "web" } else { "api" }
}

/// The listener of every story.
pub const LISTENER: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener/app/web/50dc6c495c0c9188/f2f7dc8efc522ab2";

/// What kinds of things happen in a story, in percent of the usual.
struct Mood {
    crash: bool,
    api: bool,
    lb: bool,
    watch: bool,
    leader: bool,
    clock: bool,
    churn: bool,
    health: bool,
    people: bool,
    edits: bool,
    verdicts: bool,
    foreign: bool,
}

impl Mood {
    fn draw(rng: &Rng) -> Self {
        // Few kinds at once tell more when they fail, and reach further into the rollout.
        let calm = rng.chance(30);
        let of = |percent: u64| rng.chance(if calm { percent / 4 } else { percent });
        Self {
            crash: of(50),
            api: of(50),
            lb: of(50),
            watch: of(50),
            leader: of(50),
            clock: of(15),
            churn: of(40),
            health: of(40),
            people: of(45),
            edits: of(30),
            verdicts: of(40),
            foreign: of(15),
        }
    }
}

/// Makes the story of a seed.
pub fn generate(seed: u64) -> Story {
    let rng = Rng::new(seed, 1);
    let mood = Mood::draw(&rng);
    let count = if rng.chance(25) { 2 } else { 1 };
    let processes = if mood.leader { 2 } else { 1 };
    let mut story = Story {
        seed,
        processes,
        elected: processes > 1 || rng.chance(30),
        cells: (0..count).map(|cell| cell_story(&rng, cell)).collect(),
        happenings: Vec::new(),
    };
    let mut writer = Writer { rng: &rng, story: &mut story };
    for cell in 0..count {
        writer.versions(cell);
        writer.inputs(cell, &mood);
    }
    writer.faults(&mood);
    story.happenings.sort_by_key(|happening| happening.at);
    story
}

fn steps(rng: &Rng, shares: &mut Vec<u32>) -> Value {
    let mut share = 0;
    let mut steps = Vec::new();
    for _ in 0..rng.between(0, 5) {
        let whole = share >= 100;
        steps.push(match rng.below(12) {
            0..=4 if !whole => {
                share = *rng.pick(&[5_u32, 10, 20, 25, 50, 60, 80]).unwrap_or(&20);
                json!({"setWeight": share})
            }
            5..=6 if !whole => {
                let add = *rng.pick(&[10_u32, 20, 30]).unwrap_or(&10);
                share = (share + add).min(100);
                json!({"stepWeight": add})
            }
            7 => json!({"pause": {}}),
            0..=9 => json!({"pause": {"duration": format!("{}s", rng.between(1, 40))}}),
            _ => json!({"analysis": {"templates": [{"templateName": "success-rate"}]}}),
        });
        shares.push(share);
    }
    Value::Array(steps)
}

fn set(spec: &mut Value, field: &str, value: Value) {
    if let Some(fields) = spec.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

fn cell_story(rng: &Rng, cell: usize) -> CellStory {
    let mut shares = Vec::new();
    let name = cell_name(cell);
    let steps = steps(rng, &mut shares);
    let strategy = match rng.below(10) {
        0 => json!({"type": "BlueGreen", "blueGreen": {"steps": [{"pause": {"duration": "10s"}}]}}),
        1 => json!({"canary": {"steps": steps, "analysis": {"templates": [{"templateName": "background"}]}}}),
        _ => json!({"canary": {"steps": steps}}),
    };
    let mut spec = json!({
        "replicas": if rng.chance(70) { 1 } else { 2 },
        "ingress": {
            "type": "AWSApplicationLoadBalancer",
            "awsApplicationLoadBalancer": {
                "listenerARN": LISTENER,
                "listener": {"rule": {"priority": 10 + cell, "hosts": [format!("{name}.example.com")]}},
                "targetGroupSelector": {"matchLabels": {"role": name}},
            },
        },
        "updateStrategy": strategy,
    });
    if rng.chance(20) {
        set(&mut spec, "onFailure", json!("Hold"));
    }
    if rng.chance(30) {
        set(&mut spec, "retireAfter", json!(*rng.pick(&["0s", "20s"]).unwrap_or(&"0s")));
    }
    if rng.chance(25) {
        set(&mut spec, "minHealthyTargets", if rng.chance(50) { json!(2) } else { json!("80%") });
    }
    CellStory { name: name.to_owned(), spec, shares }
}

struct Writer<'a> {
    rng: &'a Rng,
    story: &'a mut Story,
}

impl Writer<'_> {
    fn add(&mut self, at: u64, what: What) {
        self.story.happenings.push(Happening { at: at.min(HORIZON - 1), what });
    }

    /// A time at which a rollout is likely to be under way.
    fn time(&self) -> u64 {
        self.rng.between(5_000, HORIZON - 10_000)
    }

    /// Version 1 from the beginning, then 2, often 3.
    fn versions(&mut self, cell: usize) {
        let groups = self.rng.between(1, 2) as u8;
        let mut at = 0;
        let versions = if self.rng.chance(35) { 3 } else { 2 };
        for version in 1..=versions {
            for index in 0..groups.max(2) {
                if index < groups || self.rng.chance(25) || version == 1 {
                    let late = self.rng.below(3_000);
                    self.add(at + late, What::Add(Group { cell, version, index }));
                }
            }
            at = if version == 1 { self.rng.between(8_000, 40_000) } else { at + self.rng.between(5_000, 120_000) };
        }
    }

    fn group(&self, cell: usize) -> Group {
        let (version, index) = (self.rng.between(1, 3) as u8, self.rng.below(2) as u8);
        Group { cell, version, index }
    }

    fn inputs(&mut self, cell: usize, mood: &Mood) {
        let many = |rng: &Rng, on: bool, most: u64| if on { rng.between(1, most) } else { 0 };
        for _ in 0..many(self.rng, mood.churn, 6) {
            let (at, group, back) = (self.time(), self.group(cell), self.rng.between(500, 40_000));
            match self.rng.below(8) {
                0..=1 => self.add(at, What::Add(group)),
                2 => self.add(at, What::Remove(group)),
                3..=4 => {
                    self.add(at, What::Remove(group.clone()));
                    self.add(at + back, What::Add(group));
                }
                5 => {
                    self.add(at, What::Select(group.clone(), false));
                    self.add(at + back, What::Select(group, true));
                }
                6 => {
                    self.add(at, What::Spoil(group.clone(), true));
                    self.add(at + back, What::Spoil(group, false));
                }
                _ => {
                    self.add(at, What::Drain(group.clone(), true));
                    self.add(at + back, What::Drain(group, false));
                }
            }
        }
        for _ in 0..many(self.rng, mood.health, 8) {
            let (at, group, healthy) = (self.time(), self.group(cell), self.rng.below(4) as u32);
            if self.rng.chance(3) {
                self.add(at, What::Gone(group));
            } else {
                self.add(at, What::Health(group, healthy));
            }
        }
        for _ in 0..many(self.rng, mood.people, 5) {
            self.ask(cell);
        }
        for _ in 0..many(self.rng, mood.edits, 3) {
            self.edit(cell);
        }
        for _ in 0..many(self.rng, mood.verdicts, 3) {
            let phases = [RunPhase::Failed, RunPhase::Error, RunPhase::Inconclusive, RunPhase::Failed];
            let phase = self.rng.pick(&phases).copied().unwrap_or(RunPhase::Failed);
            let at = self.time();
            self.add(at, What::Verdict { cell, phase });
        }
        for _ in 0..many(self.rng, mood.foreign, 2) {
            let weight = (!self.rng.chance(15)).then(|| *self.rng.pick(&[0, 1, 50, 100, 300]).unwrap_or(&50));
            let at = self.time();
            self.add(at, What::Foreign { cell, weight });
        }
        if mood.edits && self.rng.chance(8) {
            let at = self.time();
            self.add(at, What::Delete { cell });
        }
    }

    fn ask(&mut self, cell: usize) {
        let rng = self.rng;
        let version = || format!("{}.0.0", rng.between(1, 3));
        let (verb, args) = match rng.below(16) {
            0..=3 => (Verb::Promote, Vec::new()),
            4 => (Verb::Promote, vec![("full", "true".to_owned())]),
            5..=6 => (Verb::Pause, Vec::new()),
            7..=9 => (Verb::Resume, Vec::new()),
            10..=11 => (Verb::Abort, Vec::new()),
            12 => (Verb::Undo, if rng.chance(50) { vec![("to", version())] } else { Vec::new() }),
            13 => (Verb::Retry, Vec::new()),
            14 => (Verb::Unblock, vec![("version", version())]),
            _ => {
                let at = self.time();
                let version = rng.between(1, 3) as u8;
                return self.add(at, What::Block { cell, version });
            }
        };
        let sight = rng.chance(60).then(|| rng.below(4_000));
        let args = match verb {
            Verb::Resume if rng.chance(25) => {
                vec![(if rng.chance(50) { "acceptWeights" } else { "restore" }, "true".to_owned())]
            }
            _ => args,
        };
        let at = self.time();
        self.add(at, What::Ask { cell, verb, args, sight });
    }

    fn edit(&mut self, cell: usize) {
        let rng = self.rng;
        let at = self.time();
        let patch = match rng.below(8) {
            0..=1 => {
                let mut shares = Vec::new();
                let steps = steps(rng, &mut shares);
                if let Some(cell) = self.story.cells.get_mut(cell) {
                    cell.shares.extend(shares);
                }
                json!({"updateStrategy": {"type": null, "blueGreen": null, "canary": {"steps": steps}}})
            }
            2 => json!({"replicas": rng.between(1, 2)}),
            3..=4 => json!({"version": format!("{}.0.0", rng.between(1, 3))}),
            5 => json!({"version": null}),
            6 => {
                let back = at + rng.between(1_000, 60_000);
                self.add(back, What::Edit { cell, patch: json!({"suspend": false}) });
                json!({"suspend": true})
            }
            _ => {
                let hosts = json!([format!("{}.example.org", cell_name(cell))]);
                json!({"ingress": {"awsApplicationLoadBalancer": {"listener": {"rule": {"hosts": hosts}}}}})
            }
        };
        self.add(at, What::Edit { cell, patch });
    }

    fn faults(&mut self, mood: &Mood) {
        let rng = self.rng;
        let processes = self.story.processes as u64;
        let process = || rng.below(processes) as usize;
        let kind = || rng.below(9) as usize;
        let failing = || {
            let all = [Failing::Busy, Failing::Throttled, Failing::Lost, Failing::LostAnswer, Failing::LostAnswer];
            rng.pick(&all).copied().unwrap_or(Failing::Lost)
        };
        let many = |on: bool, most: u64| if on { rng.between(1, most) } else { 0 };
        for _ in 0..many(mood.crash, 6) {
            let nth = rng.below(8) as u32;
            self.add(self.time(), What::Crash { process: process(), nth, effect: rng.chance(50) });
        }
        for _ in 0..many(mood.api, 6) {
            let failing = if rng.chance(15) { Failing::Denied } else { failing() };
            self.add(self.time(), What::ApiFault { nth: rng.between(1, 6) as u32, failing });
        }
        for _ in 0..many(mood.lb, 6) {
            let failing = if rng.chance(15) { Failing::Denied } else { failing() };
            self.add(self.time(), What::LbFault { nth: rng.between(1, 4) as u32, writes: rng.chance(60), failing });
        }
        if mood.lb && rng.chance(40) {
            let (lag, length) = (rng.between(500, 8_000), rng.between(10_000, 60_000));
            self.add(self.time(), What::Lag { lag, length });
        }
        for _ in 0..many(mood.watch, 5) {
            let what = match rng.below(3) {
                0..=1 => What::Deaf { process: process(), kind: kind(), length: rng.between(500, 30_000) },
                _ => What::Gap { process: process(), kind: kind() },
            };
            self.add(self.time(), what);
        }
        for _ in 0..many(mood.leader, 3) {
            let length = rng.between(1_000, 40_000);
            let what = match rng.below(4) {
                0..=1 => What::Freeze { process: process(), length },
                2 => What::CutOff { process: process(), length },
                _ => What::Restart(process()),
            };
            self.add(self.time(), what);
        }
        for _ in 0..many(mood.clock, 2) {
            let size = rng.between(1_000, 120_000) as i64;
            let millis = if rng.chance(50) { size } else { -size };
            self.add(self.time(), What::Jump { process: process(), millis });
        }
        if rng.chance(20) {
            self.add(self.time(), What::Slow { length: rng.between(5_000, 40_000) });
        }
        // Slow calls when a leader loses its lease: the moment at which one begins that outlasts it.
        // A group that was just added gives it something to write.
        if mood.leader {
            // Before the first deployment is over it is a matter of time which version that is.
            let added = |own: &&Happening| own.at >= 5_000 && matches!(own.what, What::Add(_));
            let times: Vec<u64> = self.story.happenings.iter().filter(added).map(|own| own.at).collect();
            let at = rng.pick(&times).copied().unwrap_or_else(|| self.time());
            let (at, length) = (at + rng.below(6_000), rng.between(20_000, 40_000));
            self.add(at, What::CutOff { process: process(), length });
            self.add(at, What::Slow { length });
        }
    }
}
