//! systemd's watchdog, which is fed as long as the daemon does its work: not by a timer, but when a heartbeat has
//! gone the way of an update, from the hub over the scheduler and the minders' link to the journal, in the channels
//! that updates, orders and happenings have. Feeds nobody itself.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::watch::hub::Ask;
use crate::watch::update::Beat;

/// A heartbeat is due so often in the time that systemd waits for one: one that takes a moment on a busy machine is
/// in time still.
const TURNS: u32 = 4;

/// Sends heartbeats, and knows which have come back.
#[derive(Debug)]
pub struct Watchdog {
    /// `None`: nobody waits for them.
    ticks: Option<Interval>,
    hub: mpsc::Sender<Ask>,
    came: watch::Receiver<Beat>,
    /// Whether they are held up by the minder, another process, for whose sake this one is not to be ended: the next
    /// one would find the same minder, and learn less from it than is known here.
    waits: watch::Receiver<bool>,
    last: Option<Beat>,
}

impl Watchdog {
    /// One that is to be fed at least this often.
    #[must_use]
    pub fn new(
        limit: Option<Duration>,
        hub: mpsc::Sender<Ask>,
        came: watch::Receiver<Beat>,
        waits: watch::Receiver<bool>,
    ) -> Self {
        let ticks = limit.filter(|limit| !limit.is_zero()).map(|limit| {
            let mut ticks = interval((limit / TURNS).max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self { ticks, hub, came, waits, last: None }
    }

    /// Waits for the next turn, and says whether the watchdog is to be fed then. Never ends where there is none.
    pub async fn turn(&mut self) -> bool {
        match &mut self.ticks {
            Some(ticks) => ticks.tick().await,
            None => return std::future::pending().await,
        };
        self.beat()
    }

    /// Whether the last heartbeat has come back, or rightly has not. If it has, sends the next.
    fn beat(&mut self) -> bool {
        if let Some(last) = self.last
            && *self.came.borrow() != last
        {
            return *self.waits.borrow();
        }
        let next = Beat(self.last.map_or(1, |Beat(last)| last + 1));
        if self.hub.try_send(Ask::Beat(next)).is_err() {
            // It is as if it had not come back; and as it was not sent, it is to be sent at the next turn.
            return *self.waits.borrow();
        }
        self.last.replace(next).is_some()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Rig {
        watchdog: Watchdog,
        asks: mpsc::Receiver<Ask>,
        came: watch::Sender<Beat>,
        waits: watch::Sender<bool>,
    }

    fn rig() -> Rig {
        let (hub, asks) = mpsc::channel(1);
        let (came, came_out) = watch::channel(Beat::default());
        let (waits, waits_out) = watch::channel(false);
        let watchdog = Watchdog::new(None, hub, came_out, waits_out);
        Rig { watchdog, asks, came, waits }
    }

    impl Rig {
        fn come_back(&mut self) {
            let Ask::Beat(beat) = self.asks.try_recv().unwrap() else { panic!("a heartbeat") };
            self.came.send_replace(beat);
        }
    }

    #[test]
    fn it_is_fed_when_a_heartbeat_has_come_back_and_not_before() {
        let mut rig = rig();
        assert!(!rig.watchdog.beat(), "nothing is known yet");
        for _ in 0..3 {
            rig.come_back();
            assert!(rig.watchdog.beat());
            assert!(!rig.watchdog.beat());
            assert!(!rig.watchdog.beat());
        }
        assert!(rig.asks.try_recv().is_ok());
        assert!(rig.asks.try_recv().is_err(), "one at a time");
    }

    #[test]
    fn it_is_fed_while_only_the_minder_is_waited_for() {
        let mut rig = rig();
        rig.watchdog.beat();
        rig.waits.send_replace(true);
        assert!(rig.watchdog.beat() && rig.watchdog.beat());
        rig.waits.send_replace(false);
        assert!(!rig.watchdog.beat());
        rig.come_back();
        assert!(rig.watchdog.beat());
        rig.come_back();
        rig.watchdog.hub.try_send(Ask::Beat(Beat(0))).unwrap();
        rig.waits.send_replace(true);
        assert!(rig.watchdog.beat(), "the hub stands still for its sake, too");
    }

    #[test]
    fn it_is_not_fed_while_the_hub_takes_no_more_and_is_fed_again_once_there_is_room() {
        let mut rig = rig();
        rig.watchdog.beat();
        rig.come_back();
        rig.watchdog.hub.try_send(Ask::Beat(Beat(0))).unwrap();
        for _ in 0..3 {
            assert!(!rig.watchdog.beat());
        }
        assert!(rig.asks.try_recv().is_ok());
        assert!(rig.watchdog.beat());
        rig.come_back();
        assert!(rig.watchdog.beat());
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_well_within_the_limit_and_none_without_one() {
        let mut rig = rig();
        let limit = Duration::from_secs(20);
        rig.watchdog = Watchdog::new(Some(limit), rig.watchdog.hub, rig.watchdog.came, rig.watchdog.waits);
        let began = tokio::time::Instant::now();
        for _ in 0..3 {
            rig.watchdog.turn().await;
        }
        assert!(began.elapsed() <= limit / 2);
        rig.watchdog.ticks = None;
        assert!(tokio::time::timeout(10 * limit, rig.watchdog.turn()).await.is_err());
    }
}
