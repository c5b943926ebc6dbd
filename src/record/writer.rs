//! The log's writer, on a thread of its own: a log that takes nothing for a while, such as a terminal that
//! was stopped, a full disk or a syslog that is being restarted, keeps nobody waiting. What does not fit into
//! the queue meanwhile is dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, debug, error, info, trace, warn};
use tracing_subscriber::fmt::format::Writer as FormatWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// How many lines may wait: more than one run may print at once.
const LINES_AHEAD: usize = 16_384;

/// How many bytes they may have together.
const BYTES_AHEAD: usize = 32 << 20;

/// What goes to the thread.
enum Message {
    Line(Level, Vec<u8>),
    /// All that came before is written: say so.
    Flush(SyncSender<()>),
}

/// Hands lines to the thread.
#[derive(Debug, Clone)]
pub struct Queue {
    messages: SyncSender<Message>,
    waiting: Arc<AtomicUsize>,
    /// Those that the log does not say yet are missing.
    dropped: Arc<AtomicU64>,
    /// All that were dropped.
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
    pub fn start(target: BoxMakeWriter, most: LevelFilter) -> io::Result<Self> {
        let (messages, taken) = sync_channel(LINES_AHEAD);
        let queue = Self {
            messages,
            waiting: Arc::new(AtomicUsize::new(0)),
            dropped: Arc::new(AtomicU64::new(0)),
            lost: LostLines::default(),
        };
        // The target may want to know the level of a line, which only an event can tell it.
        let lines = tracing_subscriber::fmt()
            .with_max_level(most)
            .with_writer(target)
            .with_ansi(false)
            .log_internal_errors(false)
            .event_format(AsItIs)
            .finish();
        let (waiting, dropped) = (Arc::clone(&queue.waiting), Arc::clone(&queue.dropped));
        thread::Builder::new().name("log".into()).spawn(move || {
            tracing::dispatcher::with_default(&Dispatch::new(lines), || {
                write_all(&taken, &waiting, &dropped)
            });
        })?;
        Ok(queue)
    }

    /// How many lines are dropped.
    #[must_use]
    pub fn lost(&self) -> LostLines {
        self.lost.clone()
    }

    /// Waits until all that was logged is written, but no longer than this.
    pub fn flush(&self, at_most: Duration) {
        let (done, told) = sync_channel(1);
        // Full: then it is not written fast enough to be waited for.
        if self.messages.try_send(Message::Flush(done)).is_ok() {
            let _ = told.recv_timeout(at_most);
        }
    }

    fn put(&self, level: Level, line: &[u8]) {
        let fits = self.waiting.load(Ordering::Relaxed) + line.len() <= BYTES_AHEAD;
        if fits && self.messages.try_send(Message::Line(level, line.to_vec())).is_ok() {
            self.waiting.fetch_add(line.len(), Ordering::Relaxed);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.lost.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(messages: &Receiver<Message>, waiting: &AtomicUsize, dropped: &AtomicU64) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Line(level, line) => {
                emit(level, &String::from_utf8_lossy(&line));
                // Added only after it was sent, so perhaps not yet.
                let _ = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| {
                    Some(bytes.saturating_sub(line.len()))
                });
            }
            Message::Flush(done) => drop(done.send(())),
        }
        match dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            lines => {
                emit(Level::WARN, &format!("{lines} lines are missing here: the log did not take them\n"))
            }
        }
    }
}

fn emit(level: Level, line: &str) {
    match level {
        Level::ERROR => error!("{line}"),
        Level::WARN => warn!("{line}"),
        Level::INFO => info!("{line}"),
        Level::DEBUG => debug!("{line}"),
        Level::TRACE => trace!("{line}"),
    }
}

/// A line that is formatted already.
struct AsItIs;

impl<S, N> FormatEvent<S, N> for AsItIs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: FormatWriter<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        context.format_fields(writer, event)
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
    use std::io::Read;

    use super::*;

    #[test]
    fn a_log_that_nobody_reads_keeps_nobody_waiting_and_what_is_missing_is_counted() {
        let (mut reader, writer) = io::pipe().unwrap();
        let writer = Arc::new(std::fs::File::from(std::os::fd::OwnedFd::from(writer)));
        let queue = Queue::start(BoxMakeWriter::new(writer), LevelFilter::TRACE).unwrap();
        for number in 0..100_000 {
            queue.put(Level::INFO, format!("{number:099}\n").as_bytes());
        }
        queue.flush(Duration::from_millis(1));
        // Read by somebody at last, on whose account the pipe ends when the queue does.
        let reading = thread::spawn(move || {
            let mut text = String::new();
            let mut buffer = vec![0; 1 << 16];
            while !text.contains("lines are missing here") {
                let length = reader.read(&mut buffer).unwrap();
                text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            }
            text
        });
        let text = reading.join().unwrap();
        assert!(text.starts_with(&format!("{:099}\n{:099}\n", 0, 1)));
    }
}
