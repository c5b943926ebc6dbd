//! What was asked of a run, as long as its minder may not have been told: it has none yet, or the one that it had is
//! gone. Pure.

use crate::run::protocol::Request;

/// Holds what is to be said of a run. Like a signal that is pending, each is held once.
#[derive(Debug, Default)]
pub(super) struct Asked {
    requests: Vec<Request>,
}

impl Asked {
    /// Takes note of something to be said later.
    pub(super) fn hold(&mut self, request: Request) {
        if !self.requests.contains(&request) {
            self.requests.push(request);
        }
    }

    /// Whether something is left to be said.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether the run is to end.
    pub(super) fn is_to_end(&self) -> bool {
        self.requests.iter().any(is_end)
    }

    /// What is to be said to a minder that has the run from now on, in the order in which it was asked. That the run is
    /// to end is held further: should this minder be gone too, the next one has to know. One that has heard it already
    /// does nothing more.
    pub(super) fn take_unsaid(&mut self) -> Vec<Request> {
        let held = self.requests.iter().filter(|request| is_end(request)).cloned().collect();
        std::mem::replace(&mut self.requests, held)
    }
}

fn is_end(request: &Request) -> bool {
    matches!(request, Request::End { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::order::RunId;

    #[test]
    fn each_thing_is_said_once_but_that_a_run_is_to_end_to_every_minder_that_has_it() {
        let run = RunId::from_u64(7);
        let (end, hang_up) = (Request::End { run }, Request::Signal { run, signal: 1 });
        let mut asked = Asked::default();
        for request in [&hang_up, &hang_up, &end, &hang_up, &end] {
            asked.hold(request.clone());
        }
        assert_eq!(asked.take_unsaid(), [hang_up, end.clone()]);
        assert!(asked.is_to_end());
        assert_eq!(asked.take_unsaid(), [end]);
    }
}
