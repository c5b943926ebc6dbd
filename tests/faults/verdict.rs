//! What the journals say of the promises. Each fault that is found is a sentence.

use std::collections::{BTreeSet, HashMap};

use crate::host::{Done, Host};
use crate::plan::{Kind, Mode, OnLoad, Watch};
use crate::runs::{Run, Runs};
use crate::truth::Truth;
use crate::writer::Story;

/// How long it may take until a run has written its first line, from what it is run for: a file that was changed,
/// or a process that was made.
const TO_BEGIN_US: u64 = 3_000_000;

/// Judges the whole journal of a host, to which all that is in `done` was done.
///
/// Of a znode that the servers themselves disagree about, the zxids tell nothing, and it is only asked whether
/// runs overlapped.
pub fn faults(
    host: &str,
    runs: &Runs,
    done: &[(u64, Done)],
    watches: &[Watch],
    stories: &HashMap<String, Story>,
    disputed: &BTreeSet<String>,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut say = |watch: &str, what: String| faults.push(format!("{host} {watch}: {what}"));
    let one_at_a_time =
        |name: &str| watches.iter().any(|watch| watch.name == name && watch.mode != Mode::Parallel);
    for watch in runs.overlaps.iter().filter(|name| one_at_a_time(name)) {
        say(watch, "a run found another one".to_owned());
    }
    for line in &runs.twice {
        say("", format!("a run that began twice: {line}"));
    }
    for watch in watches {
        let is_disputed = disputed.contains(&watch.znode);
        let runs = runs.of.get(&watch.name).map_or(&[][..], Vec::as_slice);
        let story = stories.get(&watch.znode);
        for (at, run) in runs.iter().enumerate().filter(|_| !is_disputed) {
            let earlier = &runs[..at];
            if let Err(why) = p3_was_written(watch, run, earlier, story) {
                say(&watch.name, format!("{why}: {run:?}"));
            }
            if let Err(why) = p3_has_a_reason(watch, run, earlier, done) {
                let same: Vec<&Run> = earlier.iter().filter(|other| other.zxid == run.zxid).collect();
                say(&watch.name, format!("{why}: {run:?} after {same:?}"));
            }
        }
        if watch.mode != Mode::Parallel {
            for pair in runs.windows(2) {
                if let Err(why) = p2_follows(&pair[0], &pair[1], is_disputed) {
                    say(&watch.name, format!("{why}: {pair:?}"));
                }
            }
        }
    }
    faults
}

/// What it was given was written, in that transaction, and all runs that were given that transaction were
/// given the same.
fn p3_was_written(
    watch: &Watch,
    run: &Run,
    earlier: &[Run],
    story: Option<&Story>,
) -> Result<(), &'static str> {
    if run.event == "deleted" {
        return if watch.kind == Kind::Visitor { Ok(()) } else { Err("nobody has deleted it") };
    }
    if !story.is_some_and(|story| story.has(run.token, run.zxid)) {
        return Err("nobody has written that");
    }
    let same = earlier.iter().filter(|other| other.zxid == run.zxid && other.event != "deleted");
    if same.into_iter().any(|other| other.token != run.token) {
        return Err("one transaction, and two contents");
    }
    Ok(())
}

/// A run has a reason that no earlier one had.
fn p3_has_a_reason(
    watch: &Watch,
    run: &Run,
    earlier: &[Run],
    done: &[(u64, Done)],
) -> Result<(), &'static str> {
    let since = |from: u64, what: &Done| {
        done.iter().filter(|(at, done)| done == what && *at >= from && *at <= run.began).count()
    };
    let starts = |from| since(from, &Done::Started);
    let redefined = |from| since(from, &Done::Redefined(watch.name.clone()));
    // What a minder that was killed knew of a run's end, nobody knows: also of one that it had only just made.
    let may_be_lost = |other: &Run| since(other.began.saturating_sub(TO_BEGIN_US), &Done::MindersKilled) > 0;
    let same =
        |other: &&Run| other.zxid == run.zxid && (other.event == "deleted") == (run.event == "deleted");
    let of_attempt = |attempt| earlier.iter().filter(same).filter(move |other| other.attempt == attempt);

    if run.attempt > 1 {
        if run.attempt > watch.retries + 1 {
            return Err("tried more often than it is asked for");
        }
        let before = of_attempt(run.attempt - 1).filter(|other| !other.went_well() || may_be_lost(other));
        return if before.count() > of_attempt(run.attempt).count() {
            Ok(())
        } else {
            Err("tried again without a failure")
        };
    }
    if run.event == "loaded" {
        let loaded = earlier.iter().filter(|other| other.event == "loaded" && other.attempt == 1).count();
        if loaded + 1 > starts(0) + redefined(0) {
            return Err("loaded more often than there was a load");
        }
        if watch.on_load == OnLoad::Never {
            return Err("run on load without being asked to");
        }
    }
    let Some(first) = of_attempt(1).next() else { return Ok(()) };
    // What came just before the first one began may have come after it was ordered. If it is not what that was for.
    let loads = |from| starts(from) + redefined(from);
    let before = loads(first.began.saturating_sub(TO_BEGIN_US));
    let loads = loads(first.began).max(before.saturating_sub(usize::from(first.event == "loaded")));
    if of_attempt(1).count() > loads {
        return Err("run again although nothing was loaded since");
    }
    // Of runs beside each other one that is older may be what was applied last, or what was begun last.
    let beside = |other: &Run| {
        let after = |third: &Run| third.began > other.began || third.end > Some((other.began, 0));
        earlier.iter().any(|third| third.zxid != other.zxid && after(third))
    };
    let applied = |other: &Run| same(&other) && other.went_well() && !may_be_lost(other) && !beside(other);
    if watch.on_load != OnLoad::Always && earlier.iter().any(applied) {
        return Err("run again although it was applied");
    }
    Ok(())
}

/// The runs of a watch that has one at a time, in their order.
fn p2_follows(before: &Run, after: &Run, is_disputed: bool) -> Result<(), &'static str> {
    if after.id <= before.id {
        return Err("the later of two runs has the earlier number");
    }
    if before.end.is_some_and(|(ended, _)| ended > after.began) {
        return Err("two runs at once");
    }
    // A deletion that was found out about at a start has the zxid of what was applied before.
    if after.zxid < before.zxid && after.event != "deleted" && !is_disputed {
        return Err("back in time");
    }
    Ok(())
}

/// The watches of a host that have not last run with what is there.
pub fn behind(host: &Host, watches: &[Watch], truth: &Truth) -> Vec<String> {
    let has_run =
        |watch: &Watch| host.runs.last(&watch.name).is_some_and(|run| truth.has(&watch.znode, run.token));
    let is_behind = |watch: &&Watch| watch.mode == Mode::Queue && !has_run(watch);
    let last = |watch: &Watch| format!("{} {} {:?}", host.name, watch.name, host.runs.last(&watch.name));
    watches.iter().filter(is_behind).map(last).collect()
}
