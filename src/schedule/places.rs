//! How the host's places for children (`max_running`) are shared. Pure.

use std::collections::{HashSet, VecDeque};

use crate::config::spec::WatchName;

/// The places of a host and the line of watches that want one.
///
/// A watch stands in the line once, however many runs it wants, and goes to its end again when it still
/// wants one after its turn: so none starves another.
#[derive(Debug)]
pub struct Places {
    limit: usize,
    taken: usize,
    line: VecDeque<WatchName>,
    in_line: HashSet<WatchName>,
}

impl Places {
    /// `limit` places, `taken` of them in use already: by runs that an earlier daemon left behind, which
    /// may be more than there are now.
    #[must_use]
    pub fn new(limit: usize, taken: usize) -> Self {
        Self { limit, taken, line: VecDeque::new(), in_line: HashSet::new() }
    }

    /// Puts a watch at the end of the line, unless it stands in it.
    pub fn want(&mut self, watch: &WatchName) {
        if self.in_line.insert(watch.clone()) {
            self.line.push_back(watch.clone());
        }
    }

    /// The watch whose turn it is, taken out of the line; `None` when nobody waits or no place is free.
    /// The place is taken only by `take`: a watch may have lost its reason while it waited.
    #[must_use]
    pub fn next_turn(&mut self) -> Option<WatchName> {
        if self.taken >= self.limit {
            return None;
        }
        let watch = self.line.pop_front()?;
        self.in_line.remove(&watch);
        Some(watch)
    }

    /// A run was ordered.
    pub fn take(&mut self) {
        self.taken += 1;
    }

    /// A run has ended.
    pub fn give_back(&mut self) {
        self.taken = self.taken.saturating_sub(1);
    }

    /// How many runs there are.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(text: &str) -> WatchName {
        WatchName::try_from(text).unwrap()
    }

    #[test]
    fn no_more_are_let_in_than_there_are_places() {
        let mut places = Places::new(1, 0);
        places.want(&name("a"));
        places.want(&name("b"));
        assert_eq!(places.next_turn(), Some(name("a")));
        places.take();
        assert_eq!(places.next_turn(), None);
        places.give_back();
        assert_eq!(places.next_turn(), Some(name("b")));
        assert_eq!(places.next_turn(), None);
    }

    #[test]
    fn one_that_wants_many_lets_the_others_in_between() {
        let mut places = Places::new(10, 0);
        let mut order = Vec::new();
        places.want(&name("greedy"));
        places.want(&name("greedy"));
        places.want(&name("modest"));
        for _ in 0..3 {
            let turn = places.next_turn().unwrap();
            if turn == name("greedy") {
                places.want(&turn);
            }
            order.push(turn.to_string());
        }
        assert_eq!(order, ["greedy", "modest", "greedy"]);
    }

    #[test]
    fn runs_that_were_left_behind_count_even_beyond_the_limit() {
        let mut places = Places::new(1, 3);
        places.want(&name("a"));
        places.give_back();
        places.give_back();
        assert_eq!(places.next_turn(), None);
        places.give_back();
        assert_eq!(places.next_turn(), Some(name("a")));
    }
}
