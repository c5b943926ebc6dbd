//! What runs print, as a body that goes on while they do. It has a bound however slowly it is read: what does not
//! wait any longer is missing, and said to be.

use std::future::ready;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::unconstrained;

use crate::config::spec::WatchName;
use crate::record::events::{Subscription, Told, What};
use crate::record::history::Output;
use crate::record::reader::Reader;
use crate::run::protocol::Dropped;
use crate::schedule::order::RunId;

/// What stands in place of lines that were not waited for.
const MISSED: &str = "[lines may be missing here: they came faster than they were read]\n";

/// Whose output is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// That of one run, until it has ended.
    Run(RunId),
    /// That of all runs of a watch.
    Watch(WatchName),
}

/// Sends what was printed so far and what is printed from then on, in whole lines but for what was cut before; until
/// the run has ended, the daemon stops or nobody reads.
pub async fn follow(
    whose: Whose,
    so_far: Option<Output>,
    mut live: Subscription,
    records: Reader,
    parts: mpsc::Sender<Bytes>,
) {
    let goes_on = so_far.as_ref().is_some_and(|output| output.is_running);
    let text = so_far.map(|output| output.text).unwrap_or_default();
    // What comes next is of another run.
    let open_line = !text.is_empty() && !text.ends_with(b"\n") && matches!(whose, Whose::Watch(_));
    let line_end = open_line.then_some(Bytes::from_static(b"\n"));
    for part in [Some(text), line_end].into_iter().flatten().filter(|part| !part.is_empty()) {
        if parts.send(part).await.is_err() {
            return;
        }
    }
    if matches!(whose, Whose::Run(_)) && !goes_on {
        return;
    }
    let mut has_ended = false;
    loop {
        let told = tokio::select! {
            biased;
            () = parts.closed() => return,
            // What is there already is taken before it is believed that there is no more.
            told = unconstrained(live.next()) => told,
            () = ready(()), if has_ended => return,
        };
        let text = match told {
            None => return,
            Some(Told::Missed(_)) => {
                // Its end may be among what was missed.
                if let Whose::Run(run) = whose {
                    has_ended = !records.output(run).await.is_some_and(|output| output.is_running);
                }
                MISSED.to_owned()
            }
            Some(Told::Event(event)) => match &event.what {
                What::Output { run, watch, lines, dropped } if whose.is(*run, watch) => {
                    shown(lines, *dropped)
                }
                What::RunEnded { run } if whose == Whose::Run(run.run) => return,
                _ => continue,
            },
        };
        if parts.send(text.into()).await.is_err() {
            return;
        }
    }
}

impl Whose {
    fn is(&self, run: RunId, watch: &WatchName) -> bool {
        match self {
            Self::Run(one) => *one == run,
            Self::Watch(name) => name == watch,
        }
    }
}

fn shown(lines: &[String], dropped: Dropped) -> String {
    let mut text = match dropped {
        Dropped { lines: 0, bytes: 0 } => String::new(),
        Dropped { lines: 0, bytes } => format!("[{bytes} bytes left out]\n"),
        Dropped { lines, .. } => format!("[{lines} lines left out]\n"),
    };
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::record::events::Events;
    use crate::record::reader::{Request, reader};
    use crate::record::run_record::tests::ended;
    use crate::schedule::order::Outcome;

    /// More than a follower may be behind.
    const MANY: usize = 3_000;

    fn output(text: &'static str, is_running: bool) -> Output {
        Output { text: Bytes::from_static(text.as_bytes()), is_truncated: false, is_running }
    }

    fn print(events: &mut Events, run: u64, line: &str) {
        let (run, watch) = (RunId::from_u64(run), "a".try_into().unwrap());
        let line = format!("{line}\n");
        events.tell_output(run, &watch, line.as_bytes(), Dropped::default(), SystemTime::now());
    }

    fn end(events: &mut Events, run: u64) {
        let run = Arc::new(ended("a", run, Outcome::Exited(0)));
        events.tell(What::RunEnded { run }, SystemTime::now());
    }

    /// All that somebody is told who reads only when `events` has been told everything.
    async fn read_late(whose: Whose, so_far: Output, tell: impl FnOnce(&mut Events)) -> String {
        let mut events = Events::new(SystemTime::now());
        let (records, mut asked) = reader();
        let (parts_in, mut parts) = mpsc::channel(1);
        let following = tokio::spawn(follow(whose, Some(so_far), events.subscribe(), records, parts_in));
        // The journal, after the end of every run.
        let journal = tokio::spawn(async move {
            while let Some(request) = asked.recv().await {
                let Request::Output(_, reply) = request else { panic!("{request:?}") };
                drop(reply);
            }
        });
        tell(&mut events);
        let mut told = Vec::new();
        while told.len() < 50 * MANY
            && let Some(part) = parts.recv().await
        {
            told.extend_from_slice(&part);
            if told.ends_with(b"enough\n") {
                break;
            }
        }
        drop(parts);
        following.await.unwrap();
        journal.await.unwrap();
        String::from_utf8(told).unwrap()
    }

    #[tokio::test]
    async fn of_a_run_all_is_told_until_its_end_and_nothing_of_others() {
        let told = read_late(Whose::Run(RunId::from_u64(7)), output("one\n", true), |events| {
            print(events, 8, "another's");
            print(events, 7, "two");
            end(events, 8);
            print(events, 7, "three");
            end(events, 7);
            print(events, 7, "left behind");
        });
        assert_eq!(told.await, "one\ntwo\nthree\n");
        let told = read_late(Whose::Run(RunId::from_u64(7)), output("open", false), |_| {});
        assert_eq!(told.await, "open");
    }

    #[tokio::test]
    async fn of_a_watch_all_runs_are_told_each_from_a_line_of_its_own() {
        let told = read_late(Whose::Watch("a".try_into().unwrap()), output("open", false), |events| {
            print(events, 8, "two");
            end(events, 8);
            print(events, 9, "enough");
        });
        assert_eq!(told.await, "open\ntwo\nenough\n");
    }

    #[tokio::test]
    async fn who_reads_too_slowly_is_told_so_and_of_the_last_that_there_is() {
        let told = read_late(Whose::Run(RunId::from_u64(7)), output("one\n", true), |events| {
            (0..MANY).for_each(|_| print(events, 7, "many"));
            print(events, 7, "last");
            end(events, 7);
        });
        let told = told.await;
        assert!(told.starts_with(&format!("one\n{MISSED}")) && told.ends_with("many\nlast\n"), "{told}");
    }

    #[tokio::test]
    async fn the_end_of_a_run_is_found_also_where_it_was_missed() {
        let told = read_late(Whose::Run(RunId::from_u64(7)), output("one\n", true), |events| {
            end(events, 7);
            (0..MANY).for_each(|_| print(events, 8, "another's"));
        });
        assert_eq!(told.await, format!("one\n{MISSED}"));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(shown(&lines, Dropped { lines: 3, bytes: 99 }), "[3 lines left out]\na\nb\n");
        assert_eq!(shown(&[], Dropped { lines: 0, bytes: 9 }), "[9 bytes left out]\n");
    }
}
