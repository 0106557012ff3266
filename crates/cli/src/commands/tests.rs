//! The commands on a store in memory, with an okrad that answers requests as it is told.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::{CommandFactory as _, Parser as _};
use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use okra_api::{
    AWSTargetGroup, AWSTargetGroupSpec, Cell, CellStatus, Pause, PausePhase, PauseSpec, Request,
    cell_status::{CellPhase, RolloutOutcome},
    names::{DRAIN_ANNOTATION, REQUEST_ANNOTATION},
    request::RequestRecord,
};
use okra_provider::{
    BackendError, Key, Kind,
    testing::{CallVerb, Fault, FixedClock, MemoryBackend, SeededEntropy},
};
use pretty_assertions::assert_eq;
use tokio::task::JoinHandle;

use crate::{
    Context, ExitStatus, Okractl, Printer, Style,
    follow::{Seen, follow},
    render::fixtures,
    session::Session,
};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) struct World {
    backend: Arc<MemoryBackend>,
    pub(super) session: Session,
}

pub(super) struct Ran {
    pub(super) status: ExitStatus,
    pub(super) out: String,
    pub(super) err: String,
}

impl World {
    /// The Cell, its target groups web-1 to web-4, and nobody who answers.
    pub(super) async fn with(cell: Cell) -> Self {
        let backend = Arc::new(MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1))));
        let session = Session::new(backend.clone(), "shop", "alice");
        let status = cell.status.clone();
        let mut made: Cell = session.store.create(&cell).await.unwrap();
        if let Some(status) = status {
            // The store counts generations itself.
            made.status = Some(CellStatus { observed_generation: made.metadata.generation, ..status });
            session.store.update_status(&made).await.unwrap();
        }
        for name in ["web-1", "web-2", "web-3", "web-4"] {
            let arn = format!("arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/{name}/1");
            let mut group = AWSTargetGroup::new(name, AWSTargetGroupSpec { arn });
            let labels = [("role".to_owned(), "web".to_owned())].into();
            group.metadata = ObjectMeta { namespace: Some("shop".to_owned()), labels: Some(labels), ..group.metadata };
            session.store.create(&group).await.unwrap();
        }
        Self { backend, session }
    }

    pub(super) async fn run(&self, line: &str) -> Ran {
        let args = Okractl::try_parse_from(line.split(' ')).unwrap();
        let (out, err) = (Shared::default(), Shared::default());
        let printer =
            Printer::to(Box::new(out.clone()), Box::new(err.clone()), args.global.output, Style::plain("okractl"));
        let mut context = Context::with_session(args.global, printer, Okractl::command, self.session.clone());
        let status = match super::run(args.verb, &mut context).await {
            Ok(status) => status,
            Err(error) => {
                context.printer.error(&error);
                error.status()
            }
        };
        Ran { status, out: out.text(), err: err.text() }
    }

    async fn cell(&self) -> Cell {
        self.session.store.get_live(&Key::new("shop", "web")).await.unwrap()
    }

    async fn request(&self) -> Option<Request> {
        let annotations = self.cell().await.metadata.annotations?;
        annotations.get(REQUEST_ANNOTATION).map(|text| serde_json::from_str(text).unwrap())
    }

    async fn drained(&self, name: &str) -> bool {
        let group: AWSTargetGroup = self.session.store.get_live(&Key::new("shop", name)).await.unwrap();
        group.metadata.annotations.is_some_and(|all| all.get(DRAIN_ANNOTATION).is_some_and(|value| value == "true"))
    }

    /// Changes the Cell's status once it carries a request, or at once.
    fn okrad(&self, change: impl Fn(&mut CellStatus, Option<Request>) + Send + 'static) -> JoinHandle<()> {
        let store = self.session.store.clone();
        let mut seen = follow(&store, &Key::new("shop", "web"));
        tokio::spawn(async move {
            while let Some(seen) = seen.next().await {
                let Seen::Now(mut cell) = seen else { continue };
                let annotation = cell.metadata.annotations.as_ref().and_then(|all| all.get(REQUEST_ANNOTATION));
                let request: Option<Request> = annotation.map(|text| serde_json::from_str(text).unwrap());
                let before = cell.status.clone().unwrap_or_default();
                let mut after = before.clone();
                change(&mut after, request);
                if before != after {
                    cell.status = Some(after);
                    // A conflict comes back through the watch.
                    let _conflict = store.update_status(&*cell).await;
                }
            }
        })
    }

    fn answering(&self, accepted: bool, message: &'static str) -> JoinHandle<()> {
        self.okrad(move |status, request| {
            let Some(Request { id, verb, user, .. }) = request else { return };
            let message = message.to_owned();
            let at = fixtures::NOW;
            status.last_request = Some(RequestRecord { id, verb, user, at, accepted, message });
        })
    }
}

#[tokio::test]
async fn an_accepted_request_is_told() {
    let world = World::with(fixtures::waiting_for_pause().0).await;
    let okrad = world.answering(true, "all traffic goes back to 1.0.0; 1.1.0 is blocked");
    let ran = world.run("okractl abort web").await;
    assert_eq!(ran.out, "shop/web: abort accepted: all traffic goes back to 1.0.0; 1.1.0 is blocked\n");
    assert_eq!((ran.status, ran.err.as_str()), (ExitStatus::Ok, ""));
    let request = world.request().await.unwrap();
    assert_eq!((request.user.as_str(), request.rollout_id.as_deref()), ("alice", Some("1.1.0-4")));
    okrad.abort();
}

#[tokio::test]
async fn a_refused_request_ends_with_exit_code_1() {
    let world = World::with(fixtures::healthy().0).await;
    let okrad = world.answering(false, "refused: there is no version before; say --to VERSION");
    let ran = world.run("okractl undo web --to 1.0.0").await;
    assert_eq!(ran.out, "shop/web: undo refused: there is no version before; say --to VERSION\n");
    assert_eq!(ran.status, ExitStatus::Failed);
    assert_eq!(world.request().await.unwrap().args["to"], "1.0.0");
    okrad.abort();
}

#[tokio::test]
async fn without_okrad_the_request_stays_and_that_is_said() {
    let world = World::with(fixtures::waiting_for_pause().0).await;
    let ran = world.run("okractl pause web --timeout 50ms").await;
    assert_eq!(ran.status, ExitStatus::Failed);
    assert!(ran.err.contains("no answer to pause of Cell shop/web: okrad has not acted on it within"), "{}", ran.err);
    let first = world.request().await.unwrap().id;
    let ran = world.run("okractl pause web --no-wait").await;
    assert_eq!((ran.status, ran.out.as_str()), (ExitStatus::Ok, "shop/web: pause asked for\n"));
    assert!(ran.err.contains("replaces the request pause by alice"), "{}", ran.err);
    assert_ne!(world.request().await.unwrap().id, first);
}

#[tokio::test]
async fn a_conflict_is_tried_again_with_the_same_sight() {
    let world = World::with(fixtures::waiting_for_pause().0).await;
    let conflict = BackendError::Conflict { kind: "Cell".to_owned(), key: Key::new("shop", "web") };
    world.backend.inject(Fault::nth(CallVerb::MergePatch, 1, conflict).of(Kind::of::<Cell>()));
    let ran = world.run("okractl promote web --step 2 --no-wait").await;
    assert_eq!((ran.status, ran.err.as_str()), (ExitStatus::Ok, ""));
    assert_eq!(world.request().await.unwrap().step, Some(1));
}

#[tokio::test]
async fn a_selector_acts_on_every_cell_that_it_selects() {
    let mut cell = fixtures::waiting_for_pause().0;
    cell.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
    let world = World::with(cell).await;
    let ran = world.run("okractl pause -l app=other").await;
    assert!(ran.status == ExitStatus::Failed && ran.err.contains("no Cell is selected"), "{}", ran.err);
    let okrad = world.answering(true, "the weights are held");
    let ran = world.run("okractl pause -l app=web -A -o name").await;
    assert_eq!((ran.status, ran.out.as_str()), (ExitStatus::Ok, "cell.okra.mumo.co/web\n"));
    okrad.abort();
}

#[tokio::test]
async fn the_last_serving_group_is_not_drained() {
    let world = World::with(fixtures::waiting_for_pause().0).await;
    for name in ["web-1", "web-2", "web-3"] {
        let ran = world.run(&format!("okractl drain {name}")).await;
        assert_eq!(ran.out, format!("awstargetgroup.okra.mumo.co/{name} drained\n"));
        assert!(world.drained(name).await);
    }
    let ran = world.run("okractl drain web-4").await;
    assert!(
        ran.status == ExitStatus::Failed && ran.err.contains("nothing else would serve Cell shop/web"),
        "{}",
        ran.err
    );
    assert!(!world.drained("web-4").await);
    world.run("okractl undrain awstargetgroup/web-1").await;
    assert!(!world.drained("web-1").await);
    assert_eq!(world.run("okractl drain web-4").await.status, ExitStatus::Ok);
    let ran = world.run("okractl drain -l role=web").await;
    assert_eq!(ran.status, ExitStatus::Failed, "{}", ran.out);
}

#[tokio::test]
async fn a_pause_is_cancelled_once() {
    let world = World::with(fixtures::waiting_for_pause().0).await;
    let mut pause = Pause::new("web-1", PauseSpec::default());
    pause.metadata.namespace = Some("shop".to_owned());
    world.session.store.create(&pause).await.unwrap();
    assert_eq!(world.run("okractl cancel pause web-1").await.out, "pause/web-1 cancelled\n");
    let pause: Pause = world.session.store.get_live(&Key::new("shop", "web-1")).await.unwrap();
    assert_eq!(pause.status.unwrap().phase, Some(PausePhase::Cancelled));
    assert_eq!(world.run("okractl cancel pause web-1").await.out, "pause/web-1 is cancelled already\n");
    assert_eq!(world.run("okractl cancel pause web-2").await.status, ExitStatus::Failed);
}

#[tokio::test]
async fn waiting_ends_when_it_comes_true_or_cannot() {
    let world = World::with(fixtures::waiting_for_pause().0).await;
    let okrad = world.okrad(|status, _| status.phase = Some(CellPhase::Healthy));
    let ran = world.run("okractl wait web --for=phase=Healthy").await;
    assert_eq!((ran.status, ran.out.as_str()), (ExitStatus::Ok, "cell/web condition met\n"));
    okrad.abort();
    let ran = world.run("okractl wait web --for=rollout=Succeeded --timeout 50ms").await;
    assert!(ran.status == ExitStatus::Failed && ran.err.contains("timed out after"), "{}", ran.err);
    let okrad = world.okrad(|status, _| {
        status.rollout.as_mut().unwrap().outcome = Some(RolloutOutcome::Aborted);
    });
    let ran = world.run("okractl wait web --for=rollout=Succeeded").await;
    assert!(ran.status == ExitStatus::Failed && ran.err.contains("it cannot come true any more"), "{}", ran.err);
    okrad.abort();
}

#[tokio::test]
async fn a_watch_prints_a_line_per_change_until_it_is_done() {
    let world = World::with(fixtures::waiting_for_pause().0).await;
    let steps = world.okrad(|status, _| {
        let rollout = status.rollout.as_mut().unwrap();
        match rollout.current_step_index {
            4 => {
                rollout.outcome = Some(RolloutOutcome::Failed);
                rollout.finished_at = Some(fixtures::NOW);
            }
            _ => rollout.current_step_index += 1,
        }
    });
    let ran = tokio::time::timeout(Duration::from_secs(20), world.run("okractl watch web --until-done")).await.unwrap();
    assert_eq!(ran.status, ExitStatus::Failed);
    assert!(ran.out.lines().last().unwrap().contains("no rollout"), "{}", ran.out);
    let mut lines: Vec<&str> = ran.out.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    let count = lines.len();
    lines.dedup();
    assert_eq!(lines.len(), count, "a line was printed twice: {}", ran.out);
    steps.abort();
}

#[tokio::test]
async fn objects_are_shown_in_every_form() {
    let world = World::with(fixtures::waiting_for_pause().0).await;
    assert_eq!(world.run("okractl get cells -o name").await.out, "cell.okra.mumo.co/web\n");
    assert!(world.run("okractl get cell web").await.out.contains("COMMANDS NOW"));
    assert!(world.run("okractl get cell web -o json").await.out.contains("\"stableVersion\": \"1.0.0\""));
    assert_eq!(world.run("okractl get atg -o wide").await.out.lines().count(), 5);
    assert!(world.run("okractl explain web").await.out.starts_with("web is Paused: step 2 of 5"));
    assert!(world.run("okractl describe cell web").await.out.contains("Kind:         Cell"));
    assert!(world.run("okractl plan web").await.out.contains("Looks again"));
    assert!(world.run("okractl history web").await.out.contains("latency over 300 ms"));
    let ran = world.run("okractl get vbl").await;
    assert_eq!((ran.status, ran.out.as_str()), (ExitStatus::Ok, ""));
    assert_eq!(ran.err, "no VersionBlocklist found in namespace shop\n");
    let ran = world.run("okractl get cell nope").await;
    assert!(ran.status == ExitStatus::Failed && ran.err.contains("Cell shop/nope does not exist"), "{}", ran.err);
}
