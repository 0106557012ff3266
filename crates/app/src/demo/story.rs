//! What is shown, in order: v1 comes up, v2 takes over step by step while it is measured, v3 measures badly and is
//! taken back.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use okra_api::cell_status::RolloutOutcome;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    Options, Screen,
    cluster::{Cluster, Quality},
    counters::Measured,
    load::{Account, Load},
    manifests::CELL,
    port,
    sight::{Sight, shares},
    stage::Stage,
};

/// How often the demo is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The same while the way back is measured: the figure is no finer than this.
const CLOSE_LOOK: Duration = Duration::from_millis(2);

/// No wait takes longer than this, pauses apart: a busy machine needs a few seconds for what takes one here.
const PATIENCE: Duration = Duration::from_secs(30);

/// The way back may take this long.
const WAY_BACK: Duration = Duration::from_secs(10);

/// How long each version is shown at rest.
const REST: Duration = Duration::from_secs(1);

/// The version that is taken back, and its label.
const BAD: &str = "v3";
const BAD_LABEL: &str = "3.0.0";

/// What the demo found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// What became of the requests.
    pub requests: Account,
    /// How the bad version was taken back.
    pub taken_back: TakenBack,
    /// Seconds that the demo took, without `--keep`.
    pub seconds: f64,
}

/// How the bad version was taken back, by nobody.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenBack {
    /// Which version.
    pub version: String,
    /// The share that it had reached, in percent.
    pub share: i32,
    /// The measurement that ended its rollout.
    pub measured: Measured,
    /// Milliseconds from that measurement until the balancer's table held the weights of before.
    pub measured_to_weights_millis: u64,
    /// Milliseconds from that measurement until the Cell's status said that they are verified.
    pub measured_to_verified_millis: u64,
}

/// The demo as it is played.
pub(super) struct Story<'a> {
    options: &'a Options,
    listen: SocketAddr,
    screen: &'a mut Screen,
    stop: &'a CancellationToken,
    stage: Stage,
    clusters: Vec<Cluster>,
    load: Option<Load>,
    /// What the last line that stays was about.
    shown: (String, BTreeMap<String, i32>),
}

impl<'a> Story<'a> {
    /// Plays it from the first scene to the last; whatever happens, what was started is stopped.
    pub(super) async fn play(
        options: &'a Options,
        folder: &Path,
        screen: &'a mut Screen,
        stop: &'a CancellationToken,
    ) -> anyhow::Result<Summary> {
        let listen = port::chosen(options.listen)?;
        let stage = Stage::open(folder, listen).await?;
        let shown = Default::default();
        let mut story = Self { options, listen, screen, stop, stage, clusters: Vec::new(), load: None, shown };
        let played = story.scenes().await;
        let left = story.stop_load().await;
        story.stage.close().await;
        let summary = played?;
        judge(&summary.requests)?;
        judge(&left)?;
        Ok(summary)
    }

    async fn stop_load(&mut self) -> Account {
        match self.load.take() {
            Some(load) => load.stop().await,
            None => Account::default(),
        }
    }

    async fn scenes(&mut self) -> anyhow::Result<Summary> {
        self.first_version().await?;
        self.swap().await?;
        let taken_back = self.way_back().await?;
        let summary =
            Summary { requests: self.stop_load().await, taken_back, seconds: self.screen.elapsed().as_secs_f64() };
        self.sum_up(&summary);
        if self.options.keep {
            self.keep().await?;
        }
        Ok(summary)
    }

    async fn first_version(&mut self) -> anyhow::Result<()> {
        self.screen.line("Okra swaps whole clusters behind a load balancer while requests go through it.");
        self.screen.line(&format!("  manifests  {}", self.stage.folder().display()));
        self.screen.heading("v1: a Cell, an AnalysisTemplate and two clusters");
        self.stage.write_cell(self.options.pause)?;
        self.register("v1", Quality::Good).await?;
        self.until("the first deployment", PATIENCE, |sight| sight.is_at_rest("v1")).await?;
        self.load = Some(Load::start(self.listen, self.options.rate)?);
        let line = format!("          {} requests a second begin, through http://{}", self.options.rate, self.listen);
        self.screen.line(&line);
        self.stay(REST).await
    }

    async fn swap(&mut self) -> anyhow::Result<()> {
        self.screen
            .heading("v2: two clusters register; okra finds them, shifts the traffic to them in steps, and measures");
        self.register("v2", Quality::Good).await?;
        let within = PATIENCE + self.options.pause * 2;
        let sight = self.until("the swap to v2", within, |sight| sight.is_at_rest("v2")).await?;
        anyhow::ensure!(
            sight.outcome("v2") == Some(RolloutOutcome::Succeeded),
            "v2 serves, but its rollout ended as {:?}",
            sight.outcome("v2")
        );
        self.nothing_reaches("v1", "after the swap").await
    }

    /// Nobody does anything: what is timed begins with the first bad measurement.
    async fn way_back(&mut self) -> anyhow::Result<TakenBack> {
        self.screen.heading("v3: a third of its requests fails; okra finds out, takes it back and blocks it");
        self.register(BAD, Quality::Bad).await?;
        let mut share = 0;
        let begun = |sight: &Sight| sight.share(BAD) > 0;
        self.until("the begin of v3", PATIENCE, begun).await?;
        let back = |sight: &Sight| {
            share = share.max(sight.share(BAD));
            sight.share(BAD) == 0 && sight.share("v2") == 100
        };
        let within = PATIENCE + self.options.pause * 2;
        let weights_at = self.until_closely("the way back", within, back).await?;
        let done = |sight: &Sight| sight.is_at_rest("v2") && sight.outcome(BAD) == Some(RolloutOutcome::Failed);
        let verified_at = self.until_closely("the verification of the way back", WAY_BACK, done).await?;
        let (asked, measured) = self.stage.first_bad(BAD_LABEL).context("v3 went back without a bad measurement")?;
        let sight = self.look().await?;
        anyhow::ensure!(sight.is_blocked(BAD_LABEL), "v3 was taken back, and not blocked");
        self.screen.line(&format!("          {}", sight.reason()));
        self.nothing_reaches(BAD, "after the way back").await?;
        Ok(TakenBack {
            version: BAD.to_owned(),
            share,
            measured,
            measured_to_weights_millis: millis(weights_at.duration_since(asked)),
            measured_to_verified_millis: millis(verified_at.duration_since(asked)),
        })
    }

    /// Starts the two clusters of a version and registers them, as a file in the folder.
    async fn register(&mut self, version: &str, quality: Quality) -> anyhow::Result<()> {
        let clusters = [
            Cluster::start(&format!("web-1-{version}"), version, quality).await?,
            Cluster::start(&format!("web-2-{version}"), version, quality).await?,
        ];
        let file = format!("clusters-{version}.yaml");
        self.stage.register(&file, &clusters)?;
        let names = clusters.each_ref().map(|cluster| cluster.name.as_str()).join(" and ");
        self.screen.line(&format!("          {file} registers {names}"));
        self.clusters.extend(clusters);
        Ok(())
    }

    async fn look(&self) -> anyhow::Result<Sight> {
        let version_of =
            |url: &str| self.clusters.iter().find(|cluster| cluster.url() == url).map(|c| c.version.as_str());
        let sight = Sight {
            cell: self.stage.cell(),
            route: self.stage.route(),
            run: None,
            shares: shares(&self.stage.table().await?, version_of),
            account: self.load.as_ref().map(Load::account).unwrap_or_default(),
            ended: self.load.as_ref().map_or(0, Load::ended),
        };
        let run = sight.rollout_id().and_then(|rollout| self.stage.run(rollout));
        Ok(Sight { run, ..sight })
    }

    fn show(&mut self, sight: &Sight) {
        // What only leads to other shares is not worth a line that stays.
        let what = if sight.is_in_passing() { self.shown.0.clone() } else { sight.what() };
        let now = (what, sight.shares.clone());
        let elapsed = self.screen.elapsed();
        if self.shown == now {
            self.screen.redraw(|| sight.line(elapsed));
        } else {
            self.screen.line(&sight.line(elapsed));
            self.shown = now;
        }
    }

    /// Shows what happens until it is as wanted.
    async fn until(
        &mut self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Sight) -> bool,
    ) -> anyhow::Result<Sight> {
        let deadline = Instant::now() + within;
        loop {
            let sight = self.look().await?;
            self.show(&sight);
            if wanted(&sight) {
                return Ok(sight);
            }
            self.go_on(what, deadline, &sight)?;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The same without a pause for the eye; when it was so.
    async fn until_closely(
        &mut self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Sight) -> bool,
    ) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + within;
        loop {
            let sight = self.look().await?;
            let looked = Instant::now();
            self.show(&sight);
            if wanted(&sight) {
                return Ok(looked);
            }
            self.go_on(what, deadline, &sight)?;
            tokio::time::sleep(CLOSE_LOOK).await;
        }
    }

    fn go_on(&self, what: &str, deadline: Instant, sight: &Sight) -> anyhow::Result<()> {
        anyhow::ensure!(!self.stop.is_cancelled(), "stopped before the end");
        anyhow::ensure!(Instant::now() < deadline, "{what} took longer than it should: {}", sight.message());
        Ok(())
    }

    /// Shows what happens for a while.
    async fn stay(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        self.until("a rest", PATIENCE, |_| Instant::now() >= until).await.map(drop)
    }

    /// Sees for a while that a version without weight gets no request, once those under way have ended.
    async fn nothing_reaches(&mut self, version: &str, when: &str) -> anyhow::Result<()> {
        self.settled().await?;
        let answers = |account: &Account| account.of(version).answers;
        let before = answers(&self.look().await?.account);
        self.stay(REST).await?;
        let late = answers(&self.look().await?.account) - before;
        anyhow::ensure!(late == 0, "{late} requests reached {version} {when}");
        Ok(())
    }

    /// Waits until the requests that are under way now have ended.
    async fn settled(&mut self) -> anyhow::Result<()> {
        let begun = self.look().await?.account.sent;
        self.until("the requests under way", PATIENCE, |sight| sight.ended >= begun).await.map(drop)
    }

    fn sum_up(&mut self, summary: &Summary) {
        let Account { sent, failed, by_version, .. } = &summary.requests;
        let TakenBack { version, share, measured, .. } = &summary.taken_back;
        let versions = by_version.iter().map(|(version, tally)| format!("{version} {}", tally.answers));
        self.screen.heading(&format!("Done in {:.1} s", summary.seconds));
        let by = if *failed == 0 { String::new() } else { format!(", all of them by {version}") };
        self.screen.line(&format!("  requests   {sent} sent, {failed} failed{by}"));
        self.screen.line(&format!("  answers    {}", versions.collect::<Vec<_>>().join(", ")));
        self.screen.line(&format!(
            "  way back   {version} was at {share} % when {} of its {} requests had failed: taken back and blocked",
            measured.failed, measured.requests
        ));
        self.screen.line(&format!(
            "             {} ms from that measurement to the balancer's weights, {} ms until the Cell had them verified",
            summary.taken_back.measured_to_weights_millis, summary.taken_back.measured_to_verified_millis
        ));
    }

    async fn keep(&mut self) -> anyhow::Result<()> {
        let okractl = format!("okractl --store dir:{}", self.stage.folder().display());
        self.load = Some(Load::start(self.listen, self.options.rate)?);
        self.screen.heading("It goes on until Ctrl-C. Try, in another terminal:");
        for (command, effect) in [
            (format!("{okractl} get cell {CELL}"), "everything about the Cell on one page"),
            (format!("{okractl} get analysisrun"), "what was measured"),
            (format!("{okractl} retry {CELL}"), "v3 again, from its first step"),
            (format!("{okractl} pause {CELL}"), "hold it where it is; resume goes on"),
            (format!("{okractl} undo {CELL}"), "back to the version before"),
            (format!("curl http://{}/", self.listen), "a request of your own"),
        ] {
            self.screen.line(&format!("  {command:<60}  # {effect}"));
        }
        while !self.stop.is_cancelled() {
            let sight = self.look().await?;
            self.show(&sight);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        let Account { sent, failed, .. } = self.look().await?.account;
        self.screen.line(&format!("Stopped: {sent} requests sent, {failed} failed"));
        Ok(())
    }
}

/// Whether every request was answered, and by no good version badly.
fn judge(account: &Account) -> anyhow::Result<()> {
    let Account { sent, failed, first_failure, .. } = account;
    let others = failed.saturating_sub(account.of(BAD).failed);
    let first = first_failure.as_deref().unwrap_or_default();
    anyhow::ensure!(others == 0, "{others} of {sent} requests failed that {BAD} did not answer; the first: {first}");
    Ok(())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
