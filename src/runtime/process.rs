//! A target that is a process of ours: the embedded backend, or a command of the user's.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::{self, Signal as UnixSignal};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::output::{LONGEST_LINE, Output};
use super::{Ending, Runtime, Signal, proc_stat};
use crate::journal::event::{Event, ProcessEvent};
use crate::journal::writer::Journal;
use crate::secret::lines::Lines;

/// How long a process may take to appear, and to announce its address.
const APPEAR_WITHIN: Duration = Duration::from_secs(60);
const KILLED_WITHIN: Duration = Duration::from_secs(10);
/// What is read of its output at once.
const PIECE: usize = 16 << 10;
/// What the reference backend prints when it can be reached.
pub const ANNOUNCEMENT: &str = "listening on ";

/// What is started.
#[derive(Debug, Clone)]
pub struct Spec {
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: Option<PathBuf>,
    /// It announces its address on its standard output; with `{port}` in the command replaced by 0 at first, and by the
    /// announced port at every later start.
    pub announces: bool,
}

/// What is known of the process.
#[derive(Debug, Clone, Default)]
struct Life {
    generation: u32,
    pid: Option<u32>,
    announced: bool,
    exited: Option<String>,
    failed: Option<String>,
}

pub struct ProcessRuntime {
    spec: Spec,
    journal: Journal,
    output: Output,
    life: watch::Sender<Life>,
    held: Mutex<Option<Held>>,
    /// The generation whose end we asked for.
    asked: Arc<Mutex<Option<u32>>>,
    /// Where it can be reached: as it announced at its first start; it gets the same port at every later one.
    address: Arc<OnceLock<String>>,
    tasks: TaskTracker,
}

/// Dropping it closes the socket, and the holder ends the target.
struct Held {
    holder: Child,
    socket: OwnedWriteHalf,
}

impl Held {
    /// The holder ends when all that the target started is gone: a worker that outlives it keeps its port and its GPU.
    async fn ended(mut self) -> Result<(), String> {
        drop(self.socket);
        let ended = tokio::time::timeout(KILLED_WITHIN, self.holder.wait()).await;
        ended.map(drop).map_err(|_| {
            let within = KILLED_WITHIN.as_secs();
            format!("processes that the target had started are still there, {within} s after SIGKILL")
        })
    }
}

impl ProcessRuntime {
    /// Nothing is started yet. `output` receives everything that the process prints.
    pub fn new(spec: Spec, journal: Journal, output: Output, tasks: TaskTracker) -> Self {
        Self {
            address: Arc::default(),
            spec,
            journal,
            output,
            life: watch::Sender::new(Life::default()),
            held: Mutex::new(None),
            asked: Arc::default(),
            tasks,
        }
    }

    /// The URL that it announces; empty until it has.
    pub fn address(&self) -> Arc<OnceLock<String>> {
        self.address.clone()
    }

    fn command(&self) -> Vec<String> {
        let port = self.address.get().and_then(|a| a.rsplit_once(':')).map_or("0", |(_, port)| port);
        self.spec.command.iter().map(|part| part.replace("{port}", port)).collect()
    }

    fn spawn(&self, generation: u32, target: Vec<String>) -> Result<Held, String> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(|e| e.to_string())?;
        ours.set_nonblocking(true).map_err(|e| e.to_string())?;
        let program = std::env::current_exe().map_err(|e| format!("this program cannot be found: {e}"))?;
        let mut command = Command::new(program);
        command
            .arg("hold")
            .arg("--")
            .args(target)
            .envs(&self.spec.env)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(folder) = &self.spec.cwd {
            command.current_dir(folder);
        }
        let mut holder = command.spawn().map_err(|e| format!("the target cannot be started: {e}"))?;
        let (said, socket) = UnixStream::from_std(ours).map_err(|e| e.to_string())?.into_split();
        if let Some(out) = holder.stdout.take() {
            self.tasks.spawn(read_lines(out, self.sink(generation, self.spec.announces)));
        }
        if let Some(err) = holder.stderr.take() {
            self.tasks.spawn(read_lines(err, self.sink(generation, false)));
        }
        self.tasks.spawn(follow_holder(said, self.life.clone(), generation, self.journal.clone(), self.asked.clone()));
        Ok(Held { holder, socket })
    }

    /// Where the lines of the process go.
    fn sink(&self, generation: u32, announces: bool) -> Sink {
        Sink { generation, announced: announces.then(|| (self.life.clone(), self.address.clone())), output: self.output.clone() }
    }

    async fn wait_for(&self, within: Duration, done: impl FnMut(&Life) -> bool) -> Result<Life, String> {
        let mut life = self.life.subscribe();
        match tokio::time::timeout(within, life.wait_for(done)).await {
            Ok(Ok(life)) => Ok(life.clone()),
            _ => Err(format!("nothing happened within {} s", within.as_secs())),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Takes note of what the holder says.
async fn follow_holder(
    socket: OwnedReadHalf,
    life: watch::Sender<Life>,
    generation: u32,
    journal: Journal,
    asked: Arc<Mutex<Option<u32>>>,
) {
    let mut lines = BufReader::new(socket).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        holder_says(&line, &life, generation, &journal, &asked);
    }
    if life.borrow().pid.is_some() && life.borrow().generation == generation {
        holder_says("exit lost (the holder is gone)", &life, generation, &journal, &asked);
    }
}

fn holder_says(line: &str, life: &watch::Sender<Life>, generation: u32, journal: &Journal, asked: &Mutex<Option<u32>>) {
    match line.split_once(' ') {
        Some(("pid", pid)) => {
            let Ok(pid) = pid.parse() else { return };
            journal.emit(Event::Process { event: ProcessEvent::Started { pid, generation } });
            life.send_modify(|l| l.pid = Some(pid));
        }
        Some(("exit", status)) => {
            let asked = *lock(asked) == Some(generation);
            journal.emit(Event::Process {
                event: ProcessEvent::Exited { generation, status: status.to_owned(), asked, elsewhere: false },
            });
            life.send_modify(|l| {
                l.pid = None;
                l.exited = Some(status.to_owned());
            });
        }
        Some(("error", reason)) => life.send_modify(|l| l.failed = Some(reason.to_owned())),
        _ => {}
    }
}

struct Sink {
    generation: u32,
    announced: Option<(watch::Sender<Life>, Arc<OnceLock<String>>)>,
    output: Output,
}

/// Reads what the process prints, line by line, whatever it prints.
async fn read_lines(mut stream: impl AsyncRead + Unpin, sink: Sink) {
    let mut lines = Lines::cut_at(LONGEST_LINE).at_returns();
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        lines.take(&piece[..count], |line| sink.take(line));
        // Whoever prints without end holds up nobody else.
        tokio::task::yield_now().await;
    }
    lines.finish(|line| sink.take(line));
}

impl Sink {
    fn take(&self, line: &str) {
        if let Some(((life, known), (_, address))) = self.announced.as_ref().zip(line.split_once(ANNOUNCEMENT)) {
            known.get_or_init(|| address.split(['"', ' ']).next().unwrap_or_default().to_owned());
            life.send_modify(|l| l.announced = true);
        }
        self.output.take(line, self.generation);
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    async fn start(&self) -> Result<(), String> {
        let before = lock(&self.held).take();
        if let Some(before) = before {
            before.ended().await?;
        }
        let generation = self.life.borrow().generation + 1;
        let announces = self.spec.announces;
        let command = self.command();
        self.life.send_modify(|l| *l = Life { generation, ..Life::default() });
        let held = self.spawn(generation, command)?;
        *lock(&self.held) = Some(held);
        let started = |l: &Life| l.failed.is_some() || l.exited.is_some() || (l.pid.is_some() && (l.announced || !announces));
        let life = self.wait_for(APPEAR_WITHIN, started).await.map_err(|e| format!("the target did not start: {e}"))?;
        if let Some(reason) = life.failed {
            return Err(format!("the target cannot be started: {reason}"));
        }
        match life.exited {
            Some(status) => Err(format!("the target ended at once ({status}); its last words are in target.log")),
            None => Ok(()),
        }
    }

    async fn end(&self, ending: Ending) -> Result<(), String> {
        let Some(pid) = self.pid() else { return Ok(()) };
        let generation = self.life.borrow().generation;
        *lock(&self.asked) = Some(generation);
        let gone = |l: &Life| l.pid != Some(pid);
        if let Ending::Graceful(grace) = ending {
            send(pid, UnixSignal::SIGTERM)?;
            if self.wait_for(grace, gone).await.is_ok() {
                return Ok(());
            }
        }
        send(pid, UnixSignal::SIGKILL)?;
        self.wait_for(KILLED_WITHIN, gone).await.map(drop).map_err(|e| format!("process {pid} is still there after SIGKILL: {e}"))
    }

    fn pid(&self) -> Option<u32> {
        self.life.borrow().pid
    }

    fn start_ticks(&self, pid: u32) -> Option<u64> {
        proc_stat(pid).map(|(_, ticks)| ticks)
    }

    fn is_stopped(&self, pid: u32) -> Option<bool> {
        proc_stat(pid).map(|(state, _)| matches!(state, 'T' | 't'))
    }

    fn signal(&self, pid: u32, signal: Signal) -> Result<(), String> {
        let signal = match signal {
            Signal::Stop => UnixSignal::SIGSTOP,
            Signal::Continue => UnixSignal::SIGCONT,
        };
        send(pid, signal)
    }

    fn has_process(&self) -> bool {
        true
    }
}

fn send(pid: u32, signal: UnixSignal) -> Result<(), String> {
    signal::kill(Pid::from_raw(pid.cast_signed()), signal).map_err(|e| format!("{signal} to process {pid}: {e}"))
}
