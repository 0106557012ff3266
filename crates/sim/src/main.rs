//! Runs stories from seeds and says what they broke.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::ExitCode,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Instant,
};

use clap::Parser;
use okra_core::planted::Planted;
use okra_sim::{generate, mutants::hunt, shrink::judge, simulate};
use parking_lot::Mutex;

/// Simulates rollouts from seeds.
#[derive(Debug, Parser)]
#[command(name = "okra-sim")]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// With -v the whole log of the run is printed.
    #[arg(short, long)]
    verbose: bool,
    /// How many threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// How many failing seeds are told of in full.
    #[arg(long, default_value_t = 3)]
    tell: usize,
    /// Print the hash of the log of every seed.
    #[arg(long)]
    hashes: bool,
    /// Plant each known fault in turn and tell which seed finds it, within so many seeds.
    #[arg(long)]
    mutants: bool,
    /// Do not shrink what fails.
    #[arg(long)]
    whole: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.mutants {
        return mutants(&args);
    }
    let mut out = std::io::stdout().lock();
    if let Some(seed) = args.seed {
        return one(seed, &args, &mut out);
    }
    many(&args, &mut out)
}

fn mutants(args: &Args) -> anyhow::Result<ExitCode> {
    let next = AtomicUsize::new(0);
    let missed = AtomicUsize::new(0);
    let search = || -> anyhow::Result<()> {
        while let Some(fault) = Planted::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            let text = if let Some(find) = hunt(*fault, args.from, args.seeds)? {
                let text: String = find.breach.text.chars().take(120).collect();
                format!("{fault:?}: after {} seeds by {}: {text}", find.seeds, find.breach.invariant)
            } else {
                missed.fetch_add(1, Ordering::Relaxed);
                format!("{fault:?}: NOT FOUND in {} seeds", args.seeds)
            };
            // One that is found after long must not keep back what is known of the others.
            writeln!(std::io::stdout().lock(), "{text}")?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..args.threads.max(1)).map(|_| scope.spawn(search)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?)
    })?;
    let missed = missed.into_inner();
    writeln!(std::io::stdout().lock(), "{} planted faults, {missed} not found", Planted::ALL.len())?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn one(seed: u64, args: &Args, out: &mut impl std::io::Write) -> anyhow::Result<ExitCode> {
    let mut story = generate(seed);
    let (_, first) = judge(&story)?;
    if let (Some(first), false) = (&first, args.whole) {
        story = okra_sim::shrink(&story, first.invariant)?;
    }
    let (judged, _) = judge(&story)?;
    let outcome = simulate(&story, true)?;
    write!(out, "{story}")?;
    if args.verbose {
        for line in &outcome.log {
            writeln!(out, "{line}")?;
        }
    }
    for end in &outcome.ends {
        writeln!(out, "end: {end:?}")?;
    }
    for breach in &judged.breaches {
        writeln!(out, "{} at entry {}: {}", breach.invariant, breach.seq, breach.text)?;
    }
    writeln!(out, "{} steps, {} s of virtual time, hash {:016x}", outcome.steps, outcome.length / 1000, outcome.hash)?;
    Ok(if first.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn many(args: &Args, out: &mut impl std::io::Write) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let next = AtomicU64::new(args.from);
    let end = args.from + args.seeds;
    let found: Mutex<BTreeMap<u64, (String, String)>> = Mutex::default();
    let hashes: Mutex<BTreeMap<u64, u64>> = Mutex::default();
    let steps = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    match judge(&generate(seed)) {
                        Ok((outcome, first)) => {
                            steps.fetch_add(outcome.steps, Ordering::Relaxed);
                            hashes.lock().insert(seed, outcome.hash);
                            if let Some(first) = first {
                                found.lock().insert(seed, (first.invariant.to_owned(), first.text));
                            }
                        }
                        Err(error) => _ = found.lock().insert(seed, ("error".to_owned(), format!("{error:#}"))),
                    }
                }
            });
        }
    });
    if args.hashes {
        for (seed, hash) in &*hashes.lock() {
            writeln!(out, "hash {seed} {hash:016x}")?;
        }
    }
    let found = found.into_inner();
    for (seed, (invariant, text)) in &found {
        let text: String = text.chars().take(300).collect();
        writeln!(out, "seed {seed}: {invariant}: {text}")?;
    }
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for (seed, (invariant, _)) in &found {
        let count = told.entry(invariant).or_default();
        *count += 1;
        if *count == 1 && told.len() <= args.tell && !args.whole {
            writeln!(out, "\nThe first of {invariant}, shrunk:")?;
            one(*seed, args, out)?;
        }
    }
    let took = begun.elapsed();
    writeln!(
        out,
        "{} seeds, {} with a violation {told:?}, {:.1} s, {:.2} ms of one core each, {} steps each",
        args.seeds,
        found.len(),
        took.as_secs_f64(),
        took.as_secs_f64() * 1000.0 * args.threads as f64 / args.seeds as f64,
        steps.load(Ordering::Relaxed) / args.seeds.max(1),
    )?;
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
