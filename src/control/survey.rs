//! What is asked about every watch at once, whose cost grows with the watches and falls on the one thread that watches
//! and decides. However many ask and however often, the parts are asked one question at a time, those who come
//! meanwhile share the answer to the next, and in between the parts have a rest, in proportion to what an answer took.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// After an answer that took T nobody asks again for `REST` × T.
const REST: u32 = 4;

/// How long nobody asks at the most, so that who waits for an answer is not given up.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// How long an answer is kept for those who do not mind its age.
pub const KEPT: Duration = Duration::from_secs(1);

/// One question that many ask. Cheap to clone.
#[derive(Debug)]
pub struct Survey<T> {
    turn: Arc<Semaphore>,
    last: Arc<watch::Sender<Last<T>>>,
}

#[derive(Debug)]
struct Last<T> {
    /// When it was asked for, and what it is.
    answer: Option<(Instant, Arc<T>)>,
    rest_until: Option<Instant>,
}

impl<T> Default for Survey<T> {
    fn default() -> Self {
        let last = Last { answer: None, rest_until: None };
        Self { turn: Arc::new(Semaphore::new(1)), last: Arc::new(watch::Sender::new(last)) }
    }
}

impl<T> Clone for Survey<T> {
    fn clone(&self) -> Self {
        Self { turn: Arc::clone(&self.turn), last: Arc::clone(&self.last) }
    }
}

impl<T: Send + Sync + 'static> Survey<T> {
    /// An answer that `ask` was begun for since this was called, or at most `age` before, of up to [`KEPT`]: who has
    /// just changed something finds it changed. `None` where `ask` has none.
    pub async fn answer(
        &self,
        age: Duration,
        ask: impl Future<Output = Option<T>> + Send + 'static,
    ) -> Option<Arc<T>> {
        let come = Instant::now();
        let turn = Arc::clone(&self.turn).acquire_owned().await.ok()?;
        let rest_until = {
            let last = self.last.borrow();
            if let Some((began, answer)) = &last.answer
                && *began + age >= come
            {
                return Some(Arc::clone(answer));
            }
            last.rest_until
        };
        if let Some(until) = rest_until {
            sleep_until(until).await;
        }
        let last = Arc::clone(&self.last);
        // By itself: else those who ask and go at once would leave no rest.
        let asking = tokio::spawn(async move {
            let _turn = turn;
            let began = Instant::now();
            let answer = ask.await.map(Arc::new);
            let rest = (began.elapsed() * REST).min(LONGEST_REST);
            last.send_replace(Last {
                answer: answer.clone().map(|answer| (began, answer)),
                rest_until: Some(Instant::now() + rest),
            });
            tokio::spawn(forget(last, began));
            answer
        });
        asking.await.ok()?
    }
}

/// That of many watches is megabytes.
async fn forget<T>(last: Arc<watch::Sender<Last<T>>>, of: Instant) {
    sleep(KEPT).await;
    last.send_modify(|last| {
        if last.answer.as_ref().is_some_and(|(began, _)| *began == of) {
            last.answer = None;
        }
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    const TAKES: Duration = Duration::from_millis(10);

    /// Counts how often it was asked, and takes its time.
    async fn ask(asked: Arc<AtomicU32>) -> Option<u32> {
        let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
        sleep(TAKES).await;
        Some(number)
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_who_come_at_once_all_share_two_answers_and_none_is_older_than_its_question() {
        let (survey, asked) = (Survey::default(), Arc::new(AtomicU32::new(0)));
        let mut clients = JoinSet::new();
        for _ in 0..100 {
            let (survey, asked) = (survey.clone(), Arc::clone(&asked));
            clients.spawn(async move { *survey.answer(Duration::ZERO, ask(asked)).await.unwrap() });
        }
        assert!(clients.join_all().await.iter().all(|number| *number <= 2));
        let before = asked.load(Ordering::Relaxed);
        assert!(before <= 2, "{before}");
        // The time stands still, but for what an answer takes.
        sleep(Duration::from_millis(1)).await;
        let next = survey.answer(Duration::ZERO, ask(Arc::clone(&asked))).await.unwrap();
        assert_eq!(*next, before + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_parts_have_a_rest_also_from_those_who_do_not_wait_for_their_answer() {
        let (survey, asked) = (Survey::default(), Arc::new(AtomicU32::new(0)));
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            let impatient = survey.answer(Duration::ZERO, ask(Arc::clone(&asked)));
            let _ = tokio::time::timeout(Duration::from_millis(1), impatient).await;
        }
        let most = 1_000 / (TAKES.as_millis() as u32 * (1 + REST)) + 1;
        let asked = asked.load(Ordering::Relaxed);
        assert!(asked <= most && asked >= most / 2, "{asked} of {most}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_mind_its_age_is_given_what_is_kept_and_it_is_not_kept_for_long() {
        let (survey, asked) = (Survey::default(), Arc::new(AtomicU32::new(0)));
        let answer = async || *survey.answer(KEPT, ask(Arc::clone(&asked))).await.unwrap();
        assert_eq!((answer().await, answer().await), (1, 1));
        sleep(KEPT * 2).await;
        assert!(survey.last.borrow().answer.is_none());
        assert_eq!(answer().await, 2);
    }
}
