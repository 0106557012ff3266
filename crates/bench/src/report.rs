//! The figures: kept, printed, written.

use std::{collections::BTreeMap, io::Write as _, path::Path, process::Command};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// What a reader of the table must know.
pub const CAVEATS: [&str; 5] = [
    "The stub is not AWS: a call takes microseconds where AWS takes 50 to 300 ms, and reads never lag.",
    "Everything runs on this machine: no network in between, and okrad, the API server, etcd and the stub share its \
     processors.",
    "etcd does not wait for its disk.",
    "Times are of this machine and this run: compare ratios of two runs on one machine, never absolute times.",
    "A workload that says \"short\" ran for less time than its aim speaks of.",
];

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Aim {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Aim {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtMost(most) => format!("<= {}", number(most)),
            Self::AtLeast(least) => format!(">= {}", number(least)),
        }
    }
}

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// The workload.
    pub workload: String,
    /// What was measured.
    pub what: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
    /// What it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aim: Option<Aim>,
    /// Whether it is that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    /// What else the reader should know.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The machine that it ran on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    processor: String,
    processors: usize,
    memory_mib: u64,
    kernel: String,
}

/// Everything that a run found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    machine: Machine,
    commit: String,
    okrad: String,
    began: jiff::Timestamp,
    /// The figures in the order in which they were taken.
    pub figures: Vec<Figure>,
    /// Counts by name, for the figures that are sums.
    counts: BTreeMap<String, BTreeMap<String, u64>>,
    failures: BTreeMap<String, String>,
    caveats: Vec<String>,
}

impl Report {
    /// An empty report about this machine and this build.
    pub fn new(okrad: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(
            okrad.is_file(),
            "failed to find okrad at {}: cargo build --release --locked -p okrad",
            okrad.display()
        );
        Ok(Self {
            machine: machine(),
            commit: commit(),
            okrad: okrad.display().to_string(),
            began: jiff::Timestamp::now(),
            figures: Vec::new(),
            counts: BTreeMap::new(),
            failures: BTreeMap::new(),
            caveats: CAVEATS.iter().map(|&caveat| caveat.to_owned()).collect(),
        })
    }

    /// Adds a figure with what else the reader should know of it.
    pub fn add(&mut self, workload: &str, what: &str, (value, unit): (f64, &str), aim: Option<Aim>, note: &str) {
        let met = aim.map(|aim| aim.is_met(value));
        say(&format!("  {what}: {} {unit}", number(value)));
        let (workload, what, unit, note) = (workload.to_owned(), what.to_owned(), unit.to_owned(), note.to_owned());
        self.figures.push(Figure { workload, what, value, unit, aim, met, note });
    }

    /// Adds what a sum is made of.
    pub fn count(&mut self, title: &str, counts: BTreeMap<String, u64>) {
        say(&format!("  {title}:"));
        for (name, count) in &counts {
            say(&format!("    {count:>7}  {name}"));
        }
        self.counts.insert(title.to_owned(), counts);
    }

    /// Notes that a workload did not come to its end.
    pub fn fail(&mut self, workload: &str, why: &str) {
        say(&format!("  {workload} did not come to its end: {why}"));
        self.failures.insert(workload.to_owned(), why.to_owned());
    }

    /// Whether one did not.
    pub fn has_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Reads a report.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("failed to parse {}", path.display()))
    }

    /// Writes the report.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let text = serde_json::to_string_pretty(self).context("failed to write the report as JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("failed to write {}", path.display()))
    }

    /// Prints the table.
    pub fn print(&self) {
        let Machine { processor, processors, memory_mib, kernel } = &self.machine;
        say(&format!("\ncommit {}, {processors} x {processor}, {memory_mib} MiB, Linux {kernel}\n", self.commit));
        let mut rows = vec![["workload", "figure", "value", "aim", "met", "note"].map(str::to_owned)];
        rows.extend(self.figures.iter().map(|figure| {
            [
                figure.workload.clone(),
                figure.what.clone(),
                format!("{} {}", number(figure.value), figure.unit),
                figure.aim.map_or_else(String::new, Aim::words),
                figure.met.map_or("", |met| if met { "yes" } else { "NO" }).to_owned(),
                figure.note.clone(),
            ]
        }));
        say(&table(&rows));
        for (workload, why) in &self.failures {
            say(&format!("{workload} did not come to its end: {why}"));
        }
        for caveat in &self.caveats {
            say(&format!("- {caveat}"));
        }
    }
}

/// Columns as wide as their widest cell.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n") + "\n"
}

/// Three significant digits, and no more than a whole number needs.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Prints a line.
pub fn say(text: &str) {
    // Whoever closed the pipe does not want to read it.
    let _unread = writeln!(std::io::stdout(), "{text}");
}

fn machine() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after_colon = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = after_colon(&read("/proc/meminfo"), "MemTotal");
    let memory = memory.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    Machine {
        processor: after_colon(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
        processors: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        memory_mib: memory.unwrap_or_default() / 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}

/// The commit that is checked out, and whether files differ from it.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if !changes.is_empty() => format!("{commit} with changes"),
        _ => commit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_says_whether_it_is_met() {
        assert!(Aim::AtMost(1.0).is_met(1.0) && !Aim::AtMost(1.0).is_met(1.1));
        assert!(Aim::AtLeast(0.95).is_met(0.96) && !Aim::AtLeast(0.95).is_met(0.9));
        assert!(!Aim::AtMost(1.0).is_met(f64::NAN), "nothing measured meets nothing");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a", "long"], ["wider", "b"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "a      long\nwider  b\n");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([3.0, 0.123, 12.34, 1234.5].map(number), ["3", "0.12", "12.3", "1234"].map(str::to_owned));
    }
}
