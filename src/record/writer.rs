//! The log's writer, on a thread of its own: a log that takes nothing for a while, such as a terminal that
//! was stopped, a full disk or a syslog that is being restarted, keeps nobody waiting. What does not fit into
//! the queue meanwhile is dropped, and what the target does not take is lost; both are counted, and the count is
//! written where lines are missing, as soon as anything can be written again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How many lines may wait: more than one run may print at once.
const LINES_AHEAD: usize = 16_384;

/// How many bytes they may have together.
const BYTES_AHEAD: usize = 32 << 20;

/// How often it is tried to say how many lines are missing, where no other line comes.
const AGAIN: Duration = Duration::from_secs(1);

/// Where lines go in the end. Only the thread is kept waiting by it.
pub trait Target: Send + 'static {
    /// Writes a line, all of it.
    ///
    /// # Errors
    /// When it is lost. The next one may not be.
    fn write(&mut self, level: Level, line: &[u8]) -> io::Result<()>;

    /// What stands where so many lines are missing.
    fn missing(&self, lines: u64) -> Vec<u8>;

    /// Goes on in what is at its path by now, if it has one.
    fn reopen(&mut self) {}
}

/// What goes to the thread.
enum Message {
    /// A line, and how many before it did not fit.
    Line(Level, Vec<u8>, u64),
    /// Something was asked for that is not a line.
    Wake,
    /// All that came before is written: say so.
    Flush(SyncSender<()>),
}

/// Hands lines to the thread.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Bounded by `ahead`: one that is so by itself takes the memory for all of its lines before there are any.
    messages: Sender<Message>,
    ahead: Arc<AtomicUsize>,
    waiting: Arc<AtomicUsize>,
    /// Those that the log does not say yet are missing.
    dropped: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
    /// All that were dropped or that the target did not take.
    lost: LostLines,
}

/// How many lines the log did not take since it was set up.
#[derive(Debug, Clone, Default)]
pub struct LostLines(Arc<AtomicU64>);

impl LostLines {
    /// The number.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Queue {
    /// Starts the thread, which writes to `target`.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(target: impl Target) -> io::Result<Self> {
        let (messages, taken) = channel();
        let queue = Self {
            messages,
            ahead: Arc::default(),
            waiting: Arc::default(),
            dropped: Arc::default(),
            reopen: Arc::default(),
            lost: LostLines::default(),
        };
        let writer = Writer {
            target,
            missing: 0,
            ahead: Arc::clone(&queue.ahead),
            waiting: Arc::clone(&queue.waiting),
            dropped: Arc::clone(&queue.dropped),
            reopen: Arc::clone(&queue.reopen),
            lost: queue.lost.clone(),
        };
        thread::Builder::new().name("log".into()).spawn(move || writer.run(&taken))?;
        Ok(queue)
    }

    /// How many lines it does not take.
    #[must_use]
    pub fn lost(&self) -> LostLines {
        self.lost.clone()
    }

    /// Waits until all that was logged is written, but no longer than this.
    pub fn flush(&self, at_most: Duration) {
        let (done, told) = sync_channel(1);
        // Full: then it is not written fast enough to be waited for.
        if self.send(Message::Flush(done)) {
            let _ = told.recv_timeout(at_most);
        }
    }

    /// Has what is logged from here on written to what is at the target's path by now: for who moves log files
    /// away. What waits to be written may go there as well.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        // Full: then it is awake.
        self.send(Message::Wake);
    }

    /// Puts a line, or what the target takes for one, at the end of the queue.
    pub(super) fn put(&self, level: Level, line: &[u8]) {
        let fits = self.waiting.load(Ordering::Relaxed) + line.len() <= BYTES_AHEAD;
        let before = self.dropped.swap(0, Ordering::Relaxed);
        if fits && self.send(Message::Line(level, line.to_vec(), before)) {
            self.waiting.fetch_add(line.len(), Ordering::Relaxed);
        } else {
            self.dropped.fetch_add(before + 1, Ordering::Relaxed);
            self.lost.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether there was room for it.
    fn send(&self, message: Message) -> bool {
        let one_more = |ahead| (ahead < LINES_AHEAD).then_some(ahead + 1);
        let has_room = self.ahead.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        has_room && self.messages.send(message).is_ok()
    }
}

/// The thread's end of the queue.
struct Writer<T> {
    target: T,
    /// How many lines are missing after the last that was written.
    missing: u64,
    ahead: Arc<AtomicUsize>,
    waiting: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
    lost: LostLines,
}

impl<T: Target> Writer<T> {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let message = messages.try_recv().or_else(|_| {
                // What did not fit since the last that did.
                self.missing += self.dropped.swap(0, Ordering::Relaxed);
                self.say_missing();
                if self.missing == 0 {
                    messages.recv().map_err(|_| RecvTimeoutError::Disconnected)
                } else {
                    messages.recv_timeout(AGAIN)
                }
            });
            if message.is_ok() {
                self.ahead.fetch_sub(1, Ordering::Relaxed);
            }
            if self.reopen.swap(false, Ordering::Acquire) {
                self.target.reopen();
            }
            match message {
                Ok(Message::Line(level, line, before)) => {
                    self.missing += before;
                    self.write(level, &line);
                    // Added only after it was sent, so perhaps not yet.
                    let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| {
                        Some(bytes.saturating_sub(line.len()))
                    });
                }
                Ok(Message::Wake) => {}
                Ok(Message::Flush(done)) => {
                    self.say_missing();
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn write(&mut self, level: Level, line: &[u8]) {
        self.say_missing();
        // As long as not even that can be written, nothing can.
        if self.missing > 0 || self.target.write(level, line).is_err() {
            self.missing += 1;
            self.lost.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn say_missing(&mut self) {
        if self.missing > 0 {
            let line = self.target.missing(self.missing);
            if self.target.write(Level::WARN, &line).is_ok() {
                self.missing = 0;
            }
        }
    }
}

/// One line on its way to the queue.
#[derive(Debug)]
pub struct Line<'a> {
    queue: &'a Queue,
    level: Level,
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { queue: self, level: Level::INFO }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { queue: self, level: *metadata.level() }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.put(self.level, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{BufRead, BufReader, PipeWriter};
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    struct Pipe(PipeWriter);

    impl Target for Pipe {
        fn write(&mut self, _: Level, line: &[u8]) -> io::Result<()> {
            self.0.write_all(line)
        }

        fn missing(&self, lines: u64) -> Vec<u8> {
            format!("{lines} missing\n").into_bytes()
        }
    }

    #[test]
    fn a_log_that_nobody_reads_keeps_nobody_waiting_and_what_is_missing_is_counted() {
        let (reader, writer) = io::pipe().unwrap();
        let queue = Queue::start(Pipe(writer)).unwrap();
        for number in 0..100_000 {
            queue.put(Level::INFO, format!("{number:099}\n").as_bytes());
        }
        queue.flush(Duration::from_millis(1));
        // Read by somebody at last: each is there, or counted where it belongs.
        let (mut next, mut missing) = (0, 0);
        let mut lines = BufReader::new(reader).lines();
        while next < 100_000 {
            let line = lines.next().unwrap().unwrap();
            match line.strip_suffix(" missing") {
                Some(lines) => {
                    missing += lines.parse::<usize>().unwrap();
                    next += lines.parse::<usize>().unwrap();
                }
                None => {
                    assert_eq!(line.parse::<usize>().unwrap(), next);
                    next += 1;
                }
            }
        }
        assert!(missing > 0);
    }

    /// Takes lines only as long as it is told to.
    struct Fickle {
        takes: Arc<AtomicBool>,
        taken: Sender<String>,
    }

    impl Target for Fickle {
        fn write(&mut self, _: Level, line: &[u8]) -> io::Result<()> {
            if !self.takes.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let _ = self.taken.send(String::from_utf8_lossy(line).into_owned());
            Ok(())
        }

        fn missing(&self, lines: u64) -> Vec<u8> {
            format!("{lines} missing").into_bytes()
        }
    }

    #[test]
    fn what_a_target_does_not_take_is_counted_where_it_is_missing_also_when_nothing_more_is_logged() {
        let takes = Arc::new(AtomicBool::new(true));
        let (taken_in, taken) = channel();
        let queue = Queue::start(Fickle { takes: Arc::clone(&takes), taken: taken_in }).unwrap();
        queue.put(Level::INFO, b"one");
        assert_eq!(taken.recv().unwrap(), "one");
        takes.store(false, Ordering::SeqCst);
        for line in ["two", "three"] {
            queue.put(Level::INFO, line.as_bytes());
        }
        while queue.lost().count() < 2 {
            thread::yield_now();
        }
        takes.store(true, Ordering::SeqCst);
        assert_eq!(taken.recv().unwrap(), "2 missing");
        queue.put(Level::INFO, b"four");
        assert_eq!(taken.recv().unwrap(), "four");
    }
}
