//! What is known of what a watch has applied, as its runs begin and end: not always in the order in which they began,
//! where runs may be beside each other. Pure.

use super::order::{Applied, RunId};

/// How far the runs of one watch have come, under this daemon and by the ledger of earlier ones.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The state that a run last ended well with.
    applied: Option<Applied>,
    /// The last run that was begun, with what it was given, as long as it has not ended well.
    begun: Option<(RunId, Applied)>,
    /// Of the runs that ended well, the one that was begun last.
    well: Option<RunId>,
}

impl Progress {
    /// What the ledger says.
    #[must_use]
    pub fn new(applied: Option<Applied>) -> Self {
        Self { applied, begun: None, well: None }
    }

    /// What is known to be applied.
    #[must_use]
    pub fn applied(&self) -> Option<&Applied> {
        self.applied.as_ref()
    }

    /// The run that was last heard of; `None`: there was none under this daemon.
    #[must_use]
    pub fn last(&self) -> Option<RunId> {
        self.begun.as_ref().map(|(run, _)| *run).max(self.well)
    }

    /// A run is begun with this: what was applied before is known less well from then on, if its state can come back.
    /// Returns whether that is so.
    pub fn begin(&mut self, run: RunId, given: Applied) -> bool {
        let known = self.applied.as_ref().and_then(|applied| applied.once_begun(&given));
        let is_news = known.is_some();
        self.applied = known.or(self.applied.take());
        if self.begun.as_ref().is_none_or(|(last, _)| *last < run) {
            self.begun = Some((run, given));
        }
        is_news
    }

    /// A run has ended well that was given this. Nothing follows where one has that was begun later.
    pub fn end_well(&mut self, run: RunId, given: Applied) {
        if self.well > Some(run) {
            return;
        }
        self.well = Some(run);
        self.applied = Some(match &self.begun {
            // That goes on, or has failed: how far it came is not known.
            Some((later, begun)) if *later > run => given.once_begun(begun).unwrap_or(given),
            Some(_) | None => {
                self.begun = None;
                given
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::spec::WatchType;
    use crate::watch::update::{Sign, Version};

    fn run(number: u64) -> RunId {
        RunId::from_u64(number)
    }

    fn state(mzxid: i64) -> Applied {
        let version = Version { czxid: 1, mzxid, version: 0, sign: Some(Sign::Data) };
        Applied { znode: "/a".into(), version }
    }

    fn absent(mzxid: i64) -> Applied {
        let version = state(mzxid).version.gone(WatchType::Data);
        Applied { version, ..state(mzxid) }
    }

    #[test]
    fn p1_what_can_come_back_is_not_known_to_be_applied_where_a_later_run_has_not_ended_well() {
        let is_run_again = |begun_later: bool| {
            let mut progress = Progress::new(Some(state(1)));
            progress.begin(run(1), absent(1));
            if begun_later {
                progress.begin(run(2), state(2));
            }
            progress.end_well(run(1), absent(1));
            absent(2).version.is_update_to(&progress.applied().unwrap().version)
        };
        assert_eq!([false, true].map(is_run_again), [false, true]);
    }

    #[test]
    fn p3_what_an_earlier_run_was_given_is_not_what_was_applied_last() {
        let mut progress = Progress::default();
        for number in 1..=2 {
            assert!(!progress.begin(run(number), state(number.cast_signed())));
        }
        progress.end_well(run(2), state(2));
        progress.end_well(run(1), state(1));
        assert_eq!(progress.applied(), Some(&state(2)));
    }
}
