//! The life of a run, from its start to its end: what is done to it, and when it has ended. Pure.

use std::time::{Duration, Instant};

use crate::run::protocol::Ending;

/// Where a run is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// Its main process goes on, until it ends or its time is over.
    Running {
        /// When its time is over; `None`: never.
        deadline: Option<Instant>,
    },
    /// It was sent SIGTERM.
    Terminating {
        /// When SIGKILL follows.
        kill_at: Instant,
        /// What for.
        why: Why,
        /// How its main process ended, if it has and others of the run have not.
        main: Option<Ending>,
    },
    /// It was sent SIGKILL and is not gone yet, as a process in uninterruptible sleep is not.
    Killed {
        /// When that is to be told; `None`: it was.
        stuck_at: Option<Instant>,
        /// What for.
        why: Why,
        /// How its main process ended, if it has and others of the run have not.
        main: Option<Ending>,
    },
    /// It has ended.
    Over,
}

/// Why a run is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its time was over.
    TimeOver,
    /// Somebody asked for it.
    Asked,
}

/// What a run is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its main process has ended, on its own or by a signal.
    MainEnded(Ending),
    /// All of its processes are gone, the main one too.
    Empty,
    /// It is to be ended as its timeout would.
    EndAsked,
    /// A moment has come that `wake_at` named, or any other.
    Time,
}

/// How long a run may take to end by SIGKILL before that is worth telling.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// What is to be done to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send SIGTERM, and SIGCONT so that a stopped process sees it, to all of its processes.
    Terminate,
    /// Send SIGKILL to all of its processes.
    Kill,
    /// See whether any of its processes is left, and say `Empty` when none is. Its main process must not be
    /// reaped before: as long as it is a zombie, the number of its process group cannot come to be
    /// another's.
    LookForSurvivors,
    /// Tell that it does not end although it was killed.
    ReportStuck,
    /// It has ended: reap it and report.
    Finish(Ending),
    /// It was ended, and none of it was found any more: send SIGKILL to its process group all the same before
    /// its main process is reaped, since what forks all the time may not have been seen; then report.
    KillAndFinish(Ending),
}

impl Life {
    /// A run that was ordered at `began`, from which its time is counted.
    #[must_use]
    pub fn begin(began: Instant, timeout: Option<Duration>) -> Self {
        Self::Running { deadline: timeout.and_then(|timeout| began.checked_add(timeout)) }
    }

    /// When it wants to hear of the time.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        match self {
            Self::Running { deadline } => *deadline,
            Self::Terminating { kill_at, .. } => Some(*kill_at),
            Self::Killed { stuck_at, .. } => *stuck_at,
            Self::Over => None,
        }
    }

    /// Whether it waits for what is left of a run whose main process has ended.
    #[must_use]
    pub fn waits_for_survivors(&self) -> bool {
        matches!(self, Self::Terminating { main: Some(_), .. } | Self::Killed { main: Some(_), .. })
    }

    /// Decides. `kill_after` is the time between SIGTERM and SIGKILL.
    pub fn step(&mut self, now: Instant, kill_after: Duration, event: Event) -> Action {
        match (&mut *self, event) {
            (Self::Running { .. }, Event::MainEnded(ending)) => {
                *self = Self::Over;
                Action::Finish(ending)
            }
            (Self::Running { deadline }, Event::Time) if deadline.is_none_or(|deadline| now < deadline) => {
                Action::Nothing
            }
            (Self::Running { .. }, event @ (Event::Time | Event::EndAsked)) => {
                let why = if event == Event::Time { Why::TimeOver } else { Why::Asked };
                // A `kill_after` beyond what the clock can count is as good as this.
                let kill_at = now.checked_add(kill_after).unwrap_or(now + Duration::from_secs(1 << 32));
                *self = Self::Terminating { kill_at, why, main: None };
                Action::Terminate
            }
            (Self::Terminating { main, .. } | Self::Killed { main, .. }, Event::MainEnded(ending)) => {
                *main = Some(ending);
                Action::LookForSurvivors
            }
            (Self::Terminating { why, main, .. } | Self::Killed { why, main, .. }, Event::Empty) => {
                let ending = match (why, main.take()) {
                    (Why::TimeOver, _) => Ending::TimedOut,
                    (Why::Asked, main) => main.unwrap_or(Ending::Lost),
                };
                *self = Self::Over;
                Action::KillAndFinish(ending)
            }
            (Self::Terminating { kill_at, why, main }, Event::Time) if now >= *kill_at => {
                *self = Self::Killed { stuck_at: Some(now + STUCK_AFTER), why: *why, main: main.take() };
                Action::Kill
            }
            (Self::Killed { stuck_at, .. }, Event::Time) if stuck_at.is_some_and(|at| now >= at) => {
                *stuck_at = None;
                Action::ReportStuck
            }
            (Self::Terminating { main: Some(_), .. } | Self::Killed { main: Some(_), .. }, Event::Time) => {
                Action::LookForSurvivors
            }
            (Self::Terminating { .. } | Self::Killed { .. }, Event::Time | Event::EndAsked)
            | (Self::Running { .. }, Event::Empty)
            | (Self::Over, _) => Action::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(5);

    fn running(timeout: u64) -> (Life, Instant) {
        let now = Instant::now();
        (Life::begin(now, Some(Duration::from_secs(timeout))), now)
    }

    #[test]
    fn a_run_that_ends_in_time_ends_as_it_did() {
        let (mut life, now) = running(10);
        assert_eq!(life.step(now, AFTER, Event::Time), Action::Nothing);
        let ending = Ending::Exited(3);
        assert_eq!(life.step(now, AFTER, Event::MainEnded(ending.clone())), Action::Finish(ending));
        assert_eq!(life, Life::Over);
    }

    #[test]
    fn one_that_does_not_is_sent_a_term_and_then_a_kill() {
        let (mut life, now) = running(10);
        let late = life.wake_at().unwrap_or(now);
        assert_eq!(late, now + Duration::from_secs(10));
        assert_eq!(life.step(late, AFTER, Event::Time), Action::Terminate);
        assert_eq!(life.wake_at(), Some(late + AFTER));
        assert_eq!(life.step(late, AFTER, Event::Time), Action::Nothing);
        assert_eq!(life.step(late + AFTER, AFTER, Event::Time), Action::Kill);
        let long_after = late + AFTER + STUCK_AFTER;
        assert_eq!(life.wake_at(), Some(long_after));
        assert_eq!(life.step(long_after, AFTER, Event::Time), Action::ReportStuck);
        assert_eq!(life.wake_at(), None);
        assert_eq!(life.step(long_after, AFTER, Event::Time), Action::Nothing);
        let ended = Event::MainEnded(Ending::Signaled(9));
        assert_eq!(life.step(late + AFTER, AFTER, ended), Action::LookForSurvivors);
        assert_eq!(life.step(late + AFTER, AFTER, Event::Empty), Action::KillAndFinish(Ending::TimedOut));
    }

    #[test]
    fn a_run_whose_main_process_heeds_the_term_is_not_over_before_the_others_are_gone() {
        let (mut life, now) = running(0);
        assert_eq!(life.step(now, AFTER, Event::Time), Action::Terminate);
        assert_eq!(life.step(now, AFTER, Event::MainEnded(Ending::Exited(0))), Action::LookForSurvivors);
        assert!(life.waits_for_survivors());
        assert_eq!(life.step(now, AFTER, Event::Time), Action::LookForSurvivors);
        assert_eq!(life.step(now + AFTER, AFTER, Event::Time), Action::Kill);
        assert_eq!(life.step(now + AFTER, AFTER, Event::Empty), Action::KillAndFinish(Ending::TimedOut));
    }

    #[test]
    fn one_that_is_asked_to_end_is_ended_the_same_way_and_only_once() {
        let mut life = Life::begin(Instant::now(), None);
        assert_eq!(life.wake_at(), None);
        assert_eq!(life.step(Instant::now(), AFTER, Event::EndAsked), Action::Terminate);
        assert_eq!(life.step(Instant::now(), AFTER, Event::EndAsked), Action::Nothing);
        let ending = Ending::Signaled(15);
        let ended = Event::MainEnded(ending.clone());
        assert_eq!(life.step(Instant::now(), AFTER, ended), Action::LookForSurvivors);
        assert_eq!(life.step(Instant::now(), AFTER, Event::Empty), Action::KillAndFinish(ending));
    }
}
