//! A way for bytes between two processes that a test can shut, or on which it can keep one message back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinSet,
};

const WITHIN: Duration = Duration::from_mins(1);

/// Which message is kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The request: it does not arrive.
    Request,
    /// Its answer: it was carried out.
    Answer,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Nothing passes, and no connection is closed: as when packets are lost.
    shut: bool,
    /// The next request with these words, or its answer, is kept back.
    armed: Option<(Kept, &'static str)>,
    /// How many messages are kept back.
    kept: usize,
    /// What is kept back may go on.
    released: bool,
}

type Shared = Arc<watch::Sender<State>>;

/// Forwards TCP connections.
pub struct Gate {
    address: SocketAddr,
    state: Shared,
    /// Dropping it ends every connection.
    _tasks: JoinSet<()>,
}

impl Gate {
    /// Listens on a free port for what is to go to `target`, a URL on 127.0.0.1.
    pub async fn before(target: &str) -> Self {
        let target: SocketAddr = target.split_once("//").unwrap().1.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state: Shared = Arc::new(watch::Sender::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, state.clone()));
        Self { address, state, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing through any more, in neither direction, without a word to either side.
    pub fn shut(&self) {
        self.state.send_modify(|state| state.shut = true);
    }

    /// Lets new connections through again; those that were caught break.
    pub fn open(&self) {
        self.state.send_modify(|state| state.shut = false);
    }

    /// Keeps back the next request that holds these words, or the answer to it.
    pub fn keep(&self, kept: Kept, words: &'static str) {
        self.state.send_modify(|state| *state = State { armed: Some((kept, words)), ..State::default() });
    }

    /// Waits until a message is kept back.
    pub async fn kept(&self) {
        let mut state = self.state.subscribe();
        let waited = tokio::time::timeout(WITHIN, state.wait_for(|state| state.kept > 0)).await;
        assert!(waited.is_ok_and(|state| state.is_ok()), "nothing came to be kept back");
    }

    /// Lets what is kept back go on.
    pub fn release(&self) {
        self.state.send_modify(|state| state.released = true);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: Shared) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        connections.spawn(connection(client, target, state.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Ends, and closes both sides, as soon as one side has.
async fn connection(client: TcpStream, target: SocketAddr, state: Shared) {
    if !is_open(&state).await {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answer = AtomicBool::new(false);
    let keep_request = |bytes: &[u8]| {
        let mut keep = false;
        state.send_if_modified(|state| {
            let armed =
                state.armed.take_if(|(_, words)| bytes.windows(words.len()).any(|part| part == words.as_bytes()));
            match armed {
                Some((Kept::Request, _)) => keep = true,
                Some((Kept::Answer, _)) => answer.store(true, Ordering::SeqCst),
                None => return false,
            }
            true
        });
        keep
    };
    let keep_answer = |_: &[u8]| answer.swap(false, Ordering::SeqCst);
    tokio::select! {
        biased;
        () = pump(from_client, to_server, &state, keep_request) => {}
        () = pump(from_server, to_client, &state, keep_answer) => {}
    }
}

async fn pump(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, state: &Shared, keep: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..length];
        if !is_open(state).await {
            return;
        }
        if keep(bytes) {
            state.send_modify(|state| state.kept += 1);
            state.subscribe().wait_for(|state| state.released).await.unwrap();
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// False after a wait: the gate was shut, and what came then is lost.
async fn is_open(state: &Shared) -> bool {
    if !state.borrow().shut {
        return true;
    }
    state.subscribe().wait_for(|state| !state.shut).await.unwrap();
    false
}
